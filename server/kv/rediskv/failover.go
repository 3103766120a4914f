package rediskv

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// errReplica reports a server whose keys may be long past.
var errReplica = fmt.Errorf("%w: %s", kv.ErrUnavailable, unavailable["READONLY"])

// IsReplica reports whether a call failed because a server is a replica, and no master has its address.
func IsReplica(err error) bool { return errors.Is(err, errReplica) }

// absent is a key that no process writes. No tenant owns it.
var absent = kv.Prefix("", "failover") + "absent"

// onMaster calls f. If the server that answered became a replica, and the new master has the same address, it calls f again.
func onMaster[T any](ctx context.Context, client redis.Cmdable, f func() (T, error)) (T, error) {
	result, err := f()
	if IsReplica(err) && leaveReplica(ctx, client) {
		return f()
	}
	return result, err
}

// leaveReplica closes the pipelines' connections to a replica, and reports whether a master answers now. go-redis closes a
// connection on which a write fails with READONLY; pipelines have a pool of their own.
func leaveReplica(ctx context.Context, client redis.Cmdable) bool {
	c, ok := client.(*redis.Client)
	if !ok {
		return false // a cluster reports its masters
	}
	for range redis.DefaultPipelinePoolSize {
		err := deleteAbsent(ctx, c)
		if err == nil || !strings.HasPrefix(err.Error(), "READONLY") {
			return err == nil
		}
	}
	return false
}

// deleteAbsent sends a pipeline that a replica refuses, so that go-redis closes its connection.
func deleteAbsent(ctx context.Context, c *redis.Client) error {
	pipe := c.Pipeline()
	pipe.Del(ctx, absent)
	_, err := pipe.Exec(ctx)
	return err
}
