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
	maxGroup      = 16        // largest number of commands in a group
	maxGroupBytes = 128 << 10 // most bytes of values that the commands of a group write
	maxSharedRead = 128 << 10 // most bytes of a value that is read in a group
	// minTimeLeft is the least time until its deadline that a command of a group must have. A group ends at the
	// earliest deadline of its commands, so a command that is about to expire would make the others fail.
	minTimeLeft = time.Second
)

// commandGroups combines small commands of concurrent callers into pipelines. Under load, a round trip costs more
// processor time than a command. A group is open while its first caller yields the processor to callers that are ready
// to run; it waits for nothing else. A caller without concurrent callers does not yield.
type commandGroups struct {
	running atomic.Int64 // number of running calls
	mu      sync.Mutex
	open    *commandGroup // the group that commands can join; nil if there is none
}

// commandGroup is a set of commands that are sent in one pipeline. Each may be sent twice, because the client may
// repeat the pipeline.
type commandGroup struct {
	commands []redis.Cmder
	bytes    int
	deadline time.Time     // the earliest deadline; zero if no command has one
	done     chan struct{} // closed when all commands have replies; nil while the group has one command
}

// join adds a command to the open group, or opens a group. A caller that opened a group must close and send it.
func (g *commandGroups) join(cmd redis.Cmder, bytes int, deadline time.Time) (joined *commandGroup, opened bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if opened = g.open == nil || g.open.bytes+bytes > maxGroupBytes; opened {
		g.open = &commandGroup{}
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

// close prevents further commands from joining a group.
func (g *commandGroups) close(group *commandGroup) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == group {
		g.open = nil
	}
}

// sendShared sends a command together with those of concurrent callers, and returns when it has its reply. bytes is the
// size of the value that it writes. Sending the command twice must do no harm, and its reply must be short.
func (s *Store) sendShared(ctx context.Context, cmd redis.Cmder, bytes int) {
	alone := s.groups.running.Add(1) == 1
	defer s.groups.running.Add(-1)
	deadline, limited := ctx.Deadline()
	if alone || !s.sharesRoundTrips || bytes > maxGroupBytes || ctx.Err() != nil || limited && time.Until(deadline) < minTimeLeft {
		_ = s.client.Process(ctx, cmd)
		return
	}
	g, opened := s.groups.join(cmd, bytes, deadline)
	if !opened {
		<-g.done
		return
	}
	runtime.Gosched() // callers that are about to send a command can join
	s.groups.close(g)
	s.sendGroup(ctx, g)
}

// sendGroup sends a closed group. It uses only the values of ctx, the context of the caller that opened the group.
func (s *Store) sendGroup(ctx context.Context, g *commandGroup) {
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
	slices.SortStableFunc(g.commands, func(a, b redis.Cmder) int { return cmp.Compare(sendOrder(a), sendOrder(b)) })
	s.pipeline(ctx, g.commands)
}

// sendOrder puts writes before reads. go-redis repeats a pipeline, and drops its connection to a server that became a
// replica, only if the first command is refused, and a replica accepts reads.
func sendOrder(cmd redis.Cmder) int {
	if cmd.Name() == "set" {
		return 0
	}
	return 1
}

// canShare reports whether commands for a client can be grouped: the client must observe deadlines and have a single
// server. In a cluster, a command would wait for the servers of the other commands.
func canShare(client redis.UniversalClient) bool {
	_, single := client.(*redis.Client)
	return single && observesDeadlines(client)
}
