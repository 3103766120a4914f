package rediskv

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
)

// refuser is a hook that sends no pipeline.
type refuser struct{ panics bool }

var errRefused = errors.New("refused")

func (refuser) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (refuser) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (r refuser) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error {
		if r.panics {
			panic("hook")
		}
		return errRefused
	}
}

// A command of a pipeline that was not sent has an error.
func TestUnsentPipelineFailsEveryCommand(t *testing.T) {
	t.Parallel()
	for _, panics := range []bool{false, true} {
		s, _, _ := newShared(t)
		s.client.AddHook(refuser{panics})
		one, two := redis.NewStatusCmd(t.Context(), "set", "k", "v"), redis.NewStringCmd(t.Context(), "getrange", "k", 0, 10)
		g, _ := s.groups.join(one, 0, time.Time{})
		_, _ = s.groups.join(two, 0, time.Time{})
		s.groups.close(g)
		func() {
			defer func() { require.Equal(t, panics, recover() != nil) }()
			s.sendGroup(t.Context(), g)
		}()
		<-g.done
		for _, cmd := range []redis.Cmder{one, two} {
			require.ErrorIs(t, MapError("write", cmd.Err()), kv.ErrLostReply)
		}
		if !panics {
			_, err := s.Write(t.Context(), []kv.Write{{Key: "k", Value: []byte("v")}, {Key: "l", Value: []byte("v")}})
			require.ErrorIs(t, err, kv.ErrLostReply)
		}
	}
}

// Refused writes close connections to a server that became a replica, whichever commands precede them in the pipeline.
func TestPipelinesLeaveReplica(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(s *Store, i int) error{
		"sized": func(s *Store, i int) error {
			_, _, err := s.WriteSized(t.Context(), []kv.Write{{Key: fmt.Sprint("k", i), Value: []byte("v")}})
			return err
		},
		"group": func(s *Store, i int) error {
			get, set := redis.NewStringCmd(t.Context(), "getrange", "k", 0, 10), redis.NewStatusCmd(t.Context(), "set", fmt.Sprint("k", i), "v")
			g, _ := s.groups.join(get, 0, time.Time{})
			_, _ = s.groups.join(set, 1, time.Time{})
			s.groups.close(g)
			s.sendGroup(t.Context(), g)
			return set.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master := redistest.Start(t)
			replica := redistest.StartReplica(t, master)
			service := redistest.NewFailoverAddress(t, master)
			s := New(service.Client())
			require.NoError(t, write(s, 0))
			require.EqualValues(t, 1, master.Client(t).Wait(t.Context(), 1, time.Minute).Val())
			service.Switch(replica)
			var err error
			for i := range 30 {
				if err = write(s, i); err == nil {
					break
				}
			}
			require.NoError(t, err)
		})
	}
}
