package rediskv

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// errReplica reports that a server is a replica. Its keys may be out of date.
var errReplica = fmt.Errorf("%w: %s", kv.ErrUnavailable, unavailableReplies["READONLY"])

// IsReplica reports whether a call failed because the server is a replica and no master answers at its address.
func IsReplica(err error) bool { return errors.Is(err, errReplica) }

// probeKey is a key that no process writes and no tenant owns.
var probeKey = kv.Prefix("", "failover") + "absent"

// retryOnMaster calls f. If f reached a server that has become a replica, and the new master has the same address, it
// calls f again.
func retryOnMaster[T any](ctx context.Context, client redis.Cmdable, f func() (T, error)) (T, error) {
	result, err := f()
	if IsReplica(err) && dropReplicaConnections(ctx, client) {
		return f()
	}
	return result, err
}

// dropReplicaConnections makes go-redis close the pipelines' connections to a replica, and reports whether a master
// answers now. go-redis closes a connection when a write on it fails with READONLY, and pipelines have a pool of their
// own.
func dropReplicaConnections(ctx context.Context, client redis.Cmdable) bool {
	c, ok := client.(*redis.Client)
	if !ok {
		return false // a cluster client follows its masters on its own
	}
	for range redis.DefaultPipelinePoolSize {
		err := writeProbe(ctx, c)
		if err == nil || !strings.HasPrefix(err.Error(), "READONLY") {
			return err == nil
		}
	}
	return false
}

// writeProbe sends a pipeline with a write, which a replica refuses, so that go-redis closes the connection.
func writeProbe(ctx context.Context, c *redis.Client) error {
	pipe := c.Pipeline()
	pipe.Del(ctx, probeKey)
	_, err := pipe.Exec(ctx)
	return err
}
