package redistest

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	hashSlots      = 16384
	clusterTimeout = time.Minute
)

// StartCluster runs n masters that share the hash slots, waits until each sees the whole, and gives
// a client of them.
func StartCluster(t testing.TB, n int) *redis.ClusterClient {
	t.Helper()
	ctx := context.Background()
	nodes := make([]*redis.Client, n)
	addrs := make([]string, n)
	for i := range nodes {
		_, bus, _ := net.SplitHostPort(FreeAddr(t)) // the default, port + 10000, may not exist
		addrs[i] = Start(t, "--cluster-enabled", "yes", "--cluster-port", bus).Addr
		nodes[i] = redis.NewClient(&redis.Options{Addr: addrs[i]})
		t.Cleanup(func() { _ = nodes[i].Close() })
		must(t, nodes[i].ClusterAddSlotsRange(ctx, i*hashSlots/n, (i+1)*hashSlots/n-1).Err())
		// Each node needs an epoch of its own before it meets the others.
		must(t, nodes[i].Do(ctx, "cluster", "set-config-epoch", i+1).Err())
		host, port, _ := net.SplitHostPort(addrs[i])
		must(t, nodes[0].Do(ctx, "cluster", "meet", host, port, bus).Err())
	}
	for _, node := range nodes {
		waitForCluster(t, node, n)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ReadTimeout: Patience, WriteTimeout: Patience})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func waitForCluster(t testing.TB, node *redis.Client, n int) {
	t.Helper()
	for deadline := time.Now().Add(clusterTimeout); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		info := node.ClusterInfo(context.Background()).Val()
		if strings.Contains(info, "cluster_state:ok") &&
			strings.Contains(info, "cluster_slots_ok:"+strconv.Itoa(hashSlots)) &&
			strings.Contains(info, "cluster_size:"+strconv.Itoa(n)) {
			return
		}
	}
	t.Fatal("redistest: the cluster did not come up")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
}
