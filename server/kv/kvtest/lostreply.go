package kvtest

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// lostReplies makes each conditional write and each deletion with each fault. A write that was applied is never
// reported as refused, and one that is reported as done was applied.
func lostReplies(t *testing.T, s kv.Store) {
	ctx := t.Context()
	for name, fault := range Faults {
		f := NewFaulty(s, nil)
		for _, op := range []struct {
			name   string
			former string // the value before; empty if the key is missing
			do     func(key string) (bool, error)
			after  string
		}{
			{"set if absent", "", func(key string) (bool, error) { return kv.SetIf(ctx, f, key, nil, []byte("new"), time.Hour) }, "new"},
			{"set if equal", "old", func(key string) (bool, error) { return kv.SetIf(ctx, f, key, []byte("old"), []byte("new"), time.Hour) }, "new"},
			{"swap", "old", func(key string) (bool, error) { return kv.CompareAndSwap(ctx, f, key, []byte("old"), []byte("new")) }, "new"},
			{"delete", "old", func(key string) (bool, error) { return kv.Delete(ctx, f, key) }, ""},
			{"delete if equal", "old", func(key string) (bool, error) { return kv.DeleteIf(ctx, f, key, []byte("old")) }, ""},
			{"expire if equal", "old", func(key string) (bool, error) { return kv.ExpireIf(ctx, f, key, []byte("old"), time.Hour) }, "old"},
		} {
			t.Run(name+", "+op.name, func(t *testing.T) {
				key := t.Name()
				if op.former != "" {
					require.NoError(t, kv.Set(ctx, s, key, []byte(op.former), time.Minute))
				}
				f.SetFaults(Once(fault))
				done, err := op.do(key)
				f.Flush(ctx)
				value, _, e := kv.Get(ctx, s, key)
				require.NoError(t, e)
				if fault == Fail {
					require.ErrorIs(t, err, kv.ErrUnavailable)
					require.Equal(t, op.former, string(value))
					return
				}
				require.NoError(t, err)
				require.True(t, done)
				require.Equal(t, op.after, string(value))
				if op.name == "expire if equal" {
					requireTTL(t, s, key, time.Hour)
				}
			})
		}
	}
}

// If some replies of a batch are lost, the outcomes of the other writes are unaffected, and all writes are applied
// once.
func lostBatches(t *testing.T, s kv.Store) {
	ctx := t.Context()
	for name, fault := range Faults {
		t.Run(name, func(t *testing.T) {
			f := NewFaulty(s, nil)
			keys := numbered(name, 30)
			fill(t, s, keys...)
			f.SetFaults(func(call int, w *kv.Write) Fault {
				if n, _ := strconv.Atoi(w.Key[len(name):]); call == 1 && n%3 == 0 {
					return fault
				}
				return None
			})
			swaps := make([]kv.Swap, len(keys))
			for i, key := range keys {
				swaps[i] = kv.Swap{Key: key, Old: []byte("v"), Value: []byte("new " + key)}
			}
			swaps[1].Old = []byte("another") // refused, independently of the writes beside it
			done, err := kv.SwapMany(ctx, f, swaps)
			for i, e := range kv.ErrorsOf(err, len(keys)) {
				require.Equal(t, fault == Fail && i%3 == 0, e != nil)
				require.Equal(t, i != 1 && e == nil, done[i])
				want := "v"
				if done[i] {
					want = "new " + keys[i]
				}
				requireValue(t, s, keys[i], []byte(want))
			}
		})
	}
}

// If another client writes between a lost reply and the read back, the outcome is unknown: an error, never a refusal.
func lostWithOtherWrites(t *testing.T, s kv.Store) {
	ctx := t.Context()
	for name, op := range map[string]func(f kv.Store) (bool, error){
		"set":    func(f kv.Store) (bool, error) { return kv.SetIf(ctx, f, "k", []byte("old"), []byte("mine"), 0) },
		"delete": func(f kv.Store) (bool, error) { return kv.DeleteIf(ctx, f, "k", []byte("old")) },
	} {
		for _, fault := range []Fault{LoseReply, LoseRequest} {
			mustSet(t, s, "k", []byte("old"))
			f := &overtakenStore{Faulty: NewFaulty(s, Once(fault)), t: t}
			done, err := op(f)
			require.ErrorIs(t, err, kv.ErrLostReply, name)
			require.False(t, done)
			requireValue(t, s, "k", []byte("another's"))
		}
	}
}

// overtakenStore is a store in which another client writes after each Write.
type overtakenStore struct {
	*Faulty
	t *testing.T
}

func (o *overtakenStore) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	done, err := o.Faulty.Write(ctx, writes)
	mustSet(o.t, o.Store, "k", []byte("another's"))
	return done, err
}

// countsUnderFaults increments a counter from several goroutines while requests and replies are lost. Each increment
// that was reported is counted exactly once, and no other increment is counted.
func countsUnderFaults(t *testing.T, s kv.Store) {
	const workers, rounds = 4, 20
	var n atomic.Int64
	f := NewFaulty(s, func(int, *kv.Write) Fault {
		return []Fault{None, LoseReply, LoseRequest, None, Duplicate, Fail}[n.Add(1)%6]
	})
	require.NoError(t, kv.Set(t.Context(), s, "counter", []byte("0 of none"), 0))
	var counted, unknown atomic.Int64
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for round := 0; round < rounds; {
				old, _, err := kv.Get(t.Context(), f, "counter")
				if err != nil {
					t.Error(err)
					return
				}
				at := slices.Index(old, ' ')
				count, _ := strconv.Atoi(string(old[:at]))
				mine := []byte(strconv.Itoa(count+1) + " of " + strconv.Itoa(worker) + " in " + strconv.Itoa(round))
				switch done, err := kv.CompareAndSwap(t.Context(), f, "counter", old, mine); {
				case err != nil:
					unknown.Add(1)
				case done:
					counted.Add(1)
					round++
				}
			}
		})
	}
	wg.Wait()
	value, _, err := kv.Get(t.Context(), s, "counter")
	require.NoError(t, err)
	total, err := strconv.ParseInt(string(value[:slices.Index(value, ' ')]), 10, 64)
	require.NoError(t, err)
	require.GreaterOrEqual(t, total, counted.Load(), "an increment that was reported is missing")
	require.LessOrEqual(t, total, counted.Load()+unknown.Load(), "an increment was made and reported as refused")
}
