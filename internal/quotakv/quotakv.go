// Package quotakv limits what each tenant keeps in a store, and reports writes that are refused for a lack of room.
//
// The limit is approximate, for stores such as Redis that do not count bytes by owner. A Store counts what this process
// writes, and corrects that by counting all entries from time to time. So the entries of other servers, and those that
// expired, are noticed by the next count. When a tenant reaches its quota, a count begins at once. A store of package
// sqlitekv counts exactly, and is wrapped without a quota.
package quotakv

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/coffer-storage/coffer/server/kv"
)

// Inner is a store that is wrapped.
type Backend interface {
	kv.Store
	kv.Sweeper
}

// Options are what New takes besides the store.
type Options struct {
	// Quota limits the bytes of the keys and values of each owner of keys. 0 means no limit. A store with a quota must be a
	// kv.SizedWriter.
	Quota int64
	// Refused is called for each refused write with the owner's prefix and kv.ErrQuota or kv.ErrFull. It can be nil.
	OnRefused func(owner string, reason error)
}

// Store is a kv.Store and a kv.Sweeper. Closing it closes the inner store.
type Store struct {
	Backend
	sizer   kv.SizedWriter // nil without a quota
	options Options

	mu     sync.Mutex
	used   map[string]int64 // bytes by the prefix of the owner
	since  map[string]int64 // the changes of them since the running count began; nil if none runs
	counts chan struct{}    // holds an element if a count is asked for
}

// ErrNoSizes reports a store that cannot be limited.
var ErrNoSizes = errors.New("quotakv: the store does not report the sizes of values that it replaces")

// New wraps a store. With a quota, the caller runs Count.
func New(inner Backend, options Options) (*Store, error) {
	s := &Store{Backend: inner, options: options, used: map[string]int64{}, counts: make(chan struct{}, 1)}
	if options.OnRefused == nil {
		s.options.OnRefused = func(string, error) {}
	}
	if options.Quota > 0 {
		var ok bool
		if s.sizer, ok = inner.(kv.SizedWriter); !ok {
			return nil, ErrNoSizes
		}
		s.ask()
	}
	return s, nil
}

var errQuota = fmt.Errorf("quotakv: %w", kv.ErrQuota)

// Write implements kv.Store. A write beyond the quota fails alone.
func (s *Store) Write(ctx context.Context, writes []kv.Write) (done []bool, err error) {
	if s.sizer == nil {
		done, err = s.Backend.Write(ctx, writes)
	} else {
		done, err = s.writeWithin(ctx, writes)
	}
	if err != nil {
		s.report(writes, err)
	}
	return done, err
}

// report reports the writes that failed for a lack of room.
func (s *Store) report(writes []kv.Write, err error) {
	for i, each := range kv.ErrorsOf(err, len(writes)) {
		for _, reason := range []error{kv.ErrQuota, kv.ErrFull} {
			if errors.Is(each, reason) {
				s.options.OnRefused(kv.OwnerPrefixOf(writes[i].Key), reason)
			}
		}
	}
}

// writeWithin makes the writes for which there is room.
func (s *Store) writeWithin(ctx context.Context, writes []kv.Write) ([]bool, error) {
	if err := kv.CheckWrites(writes); err != nil {
		return nil, err
	}
	admitted, err := s.admit(ctx, writes)
	if err != nil {
		return nil, err
	}
	made := make([]kv.Write, 0, len(writes))
	for i := range writes {
		if admitted[i] {
			made = append(made, writes[i])
		}
	}
	some, former, err := s.sizer.WriteSized(ctx, made)
	s.account(made, some, former)
	if len(made) == len(writes) {
		return some, err
	}
	return merge(admitted, some, kv.ErrorsOf(err, len(made)))
}

// merge returns the answer to all writes from that to those that were made.
func merge(admitted, some []bool, errs []error) ([]bool, error) {
	done, all := make([]bool, len(admitted)), make(kv.BatchError, len(admitted))
	next := 0
	for i := range admitted {
		if !admitted[i] {
			all[i] = errQuota
			continue
		}
		if all[i] = errs[next]; next < len(some) {
			done[i] = some[next]
		}
		next++
	}
	if len(all) == 1 {
		return done, all[0]
	}
	return done, all
}

// admit reports which writes have room. Only for a tenant close to its quota does it ask the store how long the values are
// that would be replaced.
func (s *Store) admit(ctx context.Context, writes []kv.Write) ([]bool, error) {
	admitted := make([]bool, len(writes))
	coming := map[string]int64{} // by the admitted writes
	var close []int
	for i := range writes {
		w, size := &writes[i], int64(0)
		if w.Op == kv.Put {
			size = int64(len(w.Key) + len(w.Value))
		}
		if admitted[i] = s.fits(w.Key, size, coming); !admitted[i] {
			close = append(close, i)
		}
	}
	if len(close) == 0 {
		return admitted, nil
	}
	keys := make([]string, len(close))
	for j, i := range close {
		keys[j] = writes[i].Key
	}
	found, err := s.Backend.Read(ctx, keys, 0)
	if err != nil {
		return nil, err
	}
	for j, i := range close {
		grow := int64(len(writes[i].Value) - found[j].Size)
		if !found[j].Exists() {
			grow += int64(len(keys[j]))
		}
		if admitted[i] = s.fits(keys[j], grow, coming); !admitted[i] {
			s.ask()
		}
	}
	return admitted, nil
}

// fits reports whether an owner can have more bytes, and adds them to those that are coming.
func (s *Store) fits(key string, grow int64, coming map[string]int64) bool {
	owner := kv.OwnerPrefixOf(key)
	if owner == "" || grow <= 0 {
		return true
	}
	s.mu.Lock()
	used := s.used[owner]
	s.mu.Unlock()
	if used+coming[owner]+grow > s.options.Quota {
		return false
	}
	coming[owner] += grow
	return true
}

// account counts what writes changed.
func (s *Store) account(writes []kv.Write, done []bool, former []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range done {
		w := &writes[i]
		owner := kv.OwnerPrefixOf(w.Key)
		if !done[i] || owner == "" || w.Op == kv.Expire {
			continue
		}
		grow := int64(-former[i])
		if w.Op == kv.Put {
			grow += int64(len(w.Value))
		}
		switch {
		case w.Op == kv.Remove:
			grow -= int64(len(w.Key))
		case former[i] == 0:
			grow += int64(len(w.Key))
		}
		s.add(s.used, owner, grow)
		if s.since != nil {
			s.since[owner] += grow
		}
	}
}

// add changes an owner's bytes, which are never negative.
func (s *Store) add(to map[string]int64, owner string, grow int64) {
	if n := to[owner] + grow; n > 0 {
		to[owner] = n
	} else {
		delete(to, owner)
	}
}

// Check returns an error if the inner store met damage since it was opened.
func (s *Store) Check(ctx context.Context) error {
	if checking, ok := s.Backend.(interface{ Check(context.Context) error }); ok {
		return checking.Check(ctx)
	}
	return nil
}

// Bytes returns the bytes of the keys and values of all owners: with a quota, as far as this process knows.
func (s *Store) Bytes(ctx context.Context) (n int64, err error) {
	if counting, ok := s.Backend.(interface {
		Bytes(ctx context.Context) (int64, error)
	}); ok {
		return counting.Bytes(ctx)
	}
	if s.sizer == nil {
		return 0, errors.ErrUnsupported
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, bytes := range s.used {
		n += bytes
	}
	return n, nil
}
