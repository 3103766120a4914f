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

// absent is a key that nobody writes, with the owner that no tenant has.
var absent = kv.Prefix("", "failover") + "absent"

// onMaster calls f, and calls it again if a connection led to a server that is a replica by now, whose successor answers at
// the same address.
func onMaster[T any](ctx context.Context, client redis.Cmdable, f func() (T, error)) (T, error) {
	result, err := f()
	if errors.Is(err, errReplica) && leaveReplica(ctx, client) {
		return f()
	}
	return result, err
}

// leaveReplica closes the connections to a replica: go-redis does so if a write fails on one. Pipelines have connections of their
// own. It reports whether a master answers.
func leaveReplica(ctx context.Context, client redis.Cmdable) bool {
	c, ok := client.(*redis.Client)
	if !ok {
		return false // clusters and Sentinels say who the master is
	}
	for range redis.DefaultPipelinePoolSize {
		pipe := c.Pipeline()
		pipe.Del(ctx, absent)
		_, err := pipe.Exec(ctx)
		if err == nil || !strings.HasPrefix(err.Error(), "READONLY") {
			return err == nil
		}
	}
	return false
}
