package rediskv

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	maxGroup      = 16        // commands of a group
	maxGroupBytes = 128 << 10 // of the values that a group writes
	maxShared     = 128 << 10 // bytes of a value that is read in a group
	// leastTime is what a command of a group has left at least. A group ends at the earliest of its deadlines, so one that is about to
	// pass would make others fail.
	leastTime = time.Second
)

// groups puts small commands of several callers together that come at the same moment. Under load, a round trip takes more of the
// processor than a command. A group has the time that its first caller gives way to others that are ready to run, and
// waits for nothing else. A caller without others does not give way.
type groups struct {
	calls atomic.Int64 // that run
	mu    sync.Mutex
	open  *group // takes more commands; nil if there is none
}

// group is commands that are sent in one pipeline. Each may be sent twice, as the client may repeat the pipeline.
type group struct {
	commands []redis.Cmder
	bytes    int
	deadline time.Time     // the earliest; zero if no command has one
	done     chan struct{} // closed when each command has its reply; nil while there is one command
}

// join puts a command into the open group, or opens one, which the caller must close and send.
func (g *groups) join(cmd redis.Cmder, bytes int, deadline time.Time) (joined *group, opened bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if opened = g.open == nil || g.open.bytes+bytes > maxGroupBytes; opened {
		g.open = &group{}
	}
	joined = g.open
	if !opened && joined.done == nil {
		joined.done = make(chan struct{})
	}
	joined.commands = append(joined.commands, cmd)
	joined.bytes += bytes
	if !deadline.IsZero() && (joined.deadline.IsZero() || deadline.Before(joined.deadline)) {
		joined.deadline = deadline
	}
	if len(joined.commands) == maxGroup {
		g.open = nil
	}
	return joined, opened
}

// close lets nothing more into a group.
func (g *groups) close(one *group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == one {
		g.open = nil
	}
}

// share sends a command that writes so many bytes, together with those of other callers, and returns when it has its reply. It must
// neither harm if it is sent twice, nor have a long reply.
func (s *Store) share(ctx context.Context, cmd redis.Cmder, bytes int) {
	alone := s.groups.calls.Add(1) == 1
	defer s.groups.calls.Add(-1)
	deadline, limited := ctx.Deadline()
	if alone || !s.shares || bytes > maxGroupBytes || ctx.Err() != nil || limited && time.Until(deadline) < leastTime {
		_ = s.client.Process(ctx, cmd)
		return
	}
	g, opened := s.groups.join(cmd, bytes, deadline)
	if !opened {
		<-g.done
		return
	}
	runtime.Gosched() // those who are about to send a command join
	s.groups.close(g)
	s.send(ctx, g)
}

// send sends a closed group. Of the context of the caller who opened it, the values count.
func (s *Store) send(ctx context.Context, g *group) {
	if len(g.commands) == 1 {
		_ = s.client.Process(ctx, g.commands[0])
		return
	}
	defer close(g.done)
	ctx = context.WithoutCancel(ctx)
	if !g.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, g.deadline)
		defer cancel()
	}
	slices.SortStableFunc(g.commands, func(a, b redis.Cmder) int { return cmp.Compare(rank(a), rank(b)) })
	s.pipeline(ctx, g.commands)
}

// rank puts writes before reads: go-redis repeats a pipeline, and leaves a server that became a replica, only if the first command is
// refused, and a replica answers reads.
func rank(cmd redis.Cmder) int {
	if cmd.Name() == "set" {
		return 0
	}
	return 1
}

// mayShare reports whether commands are put together for a client: it ends calls at their deadlines, and has a single server. In a
// cluster, a command would wait for the servers of the others.
func mayShare(client redis.UniversalClient) bool {
	_, single := client.(*redis.Client)
	return single && heedsDeadlines(client)
}
