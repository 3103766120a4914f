// Package quotakv limits how much each tenant stores, and reports writes that are refused because of the quota or a
// full store.
//
// The limit is approximate. It is for stores such as Redis that do not count bytes by owner. A Store counts the writes
// of its own process and corrects the counts by scanning all entries from time to time; only the scan notices the
// writes of other servers and entries that expired. When a tenant reaches its quota, a scan begins at once. A store of
// package sqlitekv counts exactly and is wrapped without a quota.
package quotakv

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/coffer-storage/coffer/server/kv"
)

// Backend is a store that can be wrapped.
type Backend interface {
	kv.Store
	kv.Sweeper
}

// Options are the options of New.
type Options struct {
	// Quota limits the size of the keys and values of each owner in bytes. 0 means no limit. With a quota, the store
	// must be a kv.SizedWriter.
	Quota int64
	// OnRefused is called for each refused write, with the owner's prefix and kv.ErrQuota or kv.ErrFull. It may be nil.
	OnRefused func(owner string, reason error)
}

// Store is a kv.Store and a kv.Sweeper. It is safe for concurrent use. Close closes the backend.
type Store struct {
	Backend
	sizedWriter kv.SizedWriter // nil without a quota
	options     Options

	mu         sync.Mutex
	used       map[string]int64 // bytes by owner prefix
	sinceCount map[string]int64 // changes since the running count began; nil if no count is running
	counts     chan struct{}    // has an element if a count is requested
}

// ErrNoSizes reports that a store cannot have a quota because it is not a kv.SizedWriter.
var ErrNoSizes = errors.New("quotakv: the store does not report the sizes of values that it replaces")

// New wraps a store. If there is a quota, the caller must run RunCounts in a goroutine. Close closes the backend.
func New(inner Backend, options Options) (*Store, error) {
	s := &Store{Backend: inner, options: options, used: map[string]int64{}, counts: make(chan struct{}, 1)}
	if options.OnRefused == nil {
		s.options.OnRefused = func(string, error) {}
	}
	if options.Quota > 0 {
		var ok bool
		if s.sizedWriter, ok = inner.(kv.SizedWriter); !ok {
			return nil, ErrNoSizes
		}
		s.requestCount()
	}
	return s, nil
}

var errQuota = fmt.Errorf("quotakv: %w", kv.ErrQuota)

// Write implements kv.Store. A write beyond the quota fails alone; the other writes of the batch are made.
func (s *Store) Write(ctx context.Context, writes []kv.Write) (done []bool, err error) {
	if s.sizedWriter == nil {
		done, err = s.Backend.Write(ctx, writes)
	} else {
		done, err = s.writeWithinQuota(ctx, writes)
	}
	if err != nil {
		s.report(writes, err)
	}
	return done, err
}

// report calls OnRefused for the writes that failed because of the quota or a full store.
func (s *Store) report(writes []kv.Write, err error) {
	for i, each := range kv.ErrorsOf(err, len(writes)) {
		for _, reason := range []error{kv.ErrQuota, kv.ErrFull} {
			if errors.Is(each, reason) {
				s.options.OnRefused(kv.OwnerPrefixOf(writes[i].Key), reason)
			}
		}
	}
}

// writeWithinQuota makes the writes that the quota admits.
func (s *Store) writeWithinQuota(ctx context.Context, writes []kv.Write) ([]bool, error) {
	if err := kv.CheckWrites(writes); err != nil {
		return nil, err
	}
	admitted, err := s.admit(ctx, writes)
	if err != nil {
		return nil, err
	}
	admittedWrites := make([]kv.Write, 0, len(writes))
	for i := range writes {
		if admitted[i] {
			admittedWrites = append(admittedWrites, writes[i])
		}
	}
	results, former, err := s.sizedWriter.WriteSized(ctx, admittedWrites)
	s.updateUsage(admittedWrites, results, former)
	if len(admittedWrites) == len(writes) {
		return results, err
	}
	return mergeResults(admitted, results, kv.ErrorsOf(err, len(admittedWrites)))
}

// mergeResults combines the results of the writes that were made with those of the refused ones.
func mergeResults(admitted, results []bool, errs []error) ([]bool, error) {
	done, allErrs := make([]bool, len(admitted)), make(kv.BatchError, len(admitted))
	next := 0
	for i := range admitted {
		if !admitted[i] {
			allErrs[i] = errQuota
			continue
		}
		if allErrs[i] = errs[next]; next < len(results) {
			done[i] = results[next]
		}
		next++
	}
	if len(allErrs) == 1 {
		return done, allErrs[0]
	}
	return done, allErrs
}

// admit reports which writes the quota admits. It asks the store for the sizes of the replaced values only if a tenant
// is close to its quota.
func (s *Store) admit(ctx context.Context, writes []kv.Write) ([]bool, error) {
	admitted := make([]bool, len(writes))
	admittedBytes := map[string]int64{} // growth by the admitted writes
	var nearQuota []int
	for i := range writes {
		w, size := &writes[i], int64(0)
		if w.Op == kv.Put {
			size = int64(len(w.Key) + len(w.Value))
		}
		if admitted[i] = s.admitBytes(w.Key, size, admittedBytes); !admitted[i] {
			nearQuota = append(nearQuota, i)
		}
	}
	if len(nearQuota) == 0 {
		return admitted, nil
	}
	keys := make([]string, len(nearQuota))
	for j, i := range nearQuota {
		keys[j] = writes[i].Key
	}
	found, err := s.Backend.Read(ctx, keys, 0)
	if err != nil {
		return nil, err
	}
	for j, i := range nearQuota {
		grow := int64(len(writes[i].Value) - found[j].Size)
		if !found[j].Exists() {
			grow += int64(len(keys[j]))
		}
		if admitted[i] = s.admitBytes(keys[j], grow, admittedBytes); !admitted[i] {
			s.requestCount()
		}
	}
	return admitted, nil
}

// admitBytes reports whether an owner may store grow more bytes, and adds these to admitted.
func (s *Store) admitBytes(key string, grow int64, admitted map[string]int64) bool {
	owner := kv.OwnerPrefixOf(key)
	if owner == "" || grow <= 0 {
		return true
	}
	s.mu.Lock()
	used := s.used[owner]
	s.mu.Unlock()
	if used+admitted[owner]+grow > s.options.Quota {
		return false
	}
	admitted[owner] += grow
	return true
}

// updateUsage counts the changes of writes.
func (s *Store) updateUsage(writes []kv.Write, done []bool, former []int) {
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
		if s.sinceCount != nil {
			s.sinceCount[owner] += grow
		}
	}
}

// add changes the bytes of an owner, which never become negative.
func (s *Store) add(to map[string]int64, owner string, grow int64) {
	if n := to[owner] + grow; n > 0 {
		to[owner] = n
	} else {
		delete(to, owner)
	}
}

// Check returns an error if the backend has found damage since it was opened.
func (s *Store) Check(ctx context.Context) error {
	if checking, ok := s.Backend.(interface{ Check(context.Context) error }); ok {
		return checking.Check(ctx)
	}
	return nil
}

// Bytes returns the size of the keys and values of all owners in bytes. With a quota, this is the count of this
// process. It returns errors.ErrUnsupported if nothing counts the bytes.
func (s *Store) Bytes(ctx context.Context) (n int64, err error) {
	if counting, ok := s.Backend.(interface {
		Bytes(ctx context.Context) (int64, error)
	}); ok {
		return counting.Bytes(ctx)
	}
	if s.sizedWriter == nil {
		return 0, errors.ErrUnsupported
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, bytes := range s.used {
		n += bytes
	}
	return n, nil
}
