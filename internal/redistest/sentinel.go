package redistest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/internal/proctest"
)

// StartSentinel runs a Sentinel that watches a server under a name. It waits until the Sentinel has found the server,
// and returns the Sentinel's address.
func StartSentinel(t testing.TB, watched *Server, name string) string {
	t.Helper()
	addr := FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	host, redisPort, _ := net.SplitHostPort(watched.Addr)
	path := filepath.Join(t.TempDir(), "sentinel.conf") // Sentinel writes to its configuration file
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\nsentinel monitor %s %s %s 1\n", port, name, host, redisPort)
	requireNoError(t, os.WriteFile(path, []byte(text), 0o600))
	var output bytes.Buffer
	cmd := proctest.Command(t, "redis-server", path, "--sentinel")
	cmd.Stdout, cmd.Stderr = &output, &output
	requireNoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	client := redis.NewSentinelClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = client.Close() })
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if master, err := client.GetMasterAddrByName(context.Background(), name).Result(); err == nil && len(master) == 2 {
			return addr
		}
	}
	t.Fatal("redistest: the Sentinel did not come up")
	return ""
}
