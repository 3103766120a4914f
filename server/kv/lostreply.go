package kv

import (
	"bytes"
	"context"
	"errors"
	"slices"
)

// attempts bounds how often Apply makes a write whose reply is lost.
const attempts = 3

// Apply makes the writes and finds out what became of those whose reply was lost: it reads the key back, compares,
// and makes the write again if it did not take effect. It relies on values that are unique to one write, as
// packages with a random nonce are: the value of this write in the store proves that this write was applied.
//
// Three things cannot be known after a lost reply. If the key of a Remove is missing, this call or another one
// removed it, or it expired: Apply reports that it was removed. If another value is there instead of the one that
// was to be written or removed, it was written before or after this write: Apply returns the error of the lost
// reply, and never claims that nothing was changed. If the store cannot be read either, the same error is returned.
func applyWrites(ctx context.Context, s Store, writes []Write) (done []bool, err error) {
	done, err = s.Write(ctx, writes)
	if err == nil || !errors.Is(err, ErrLostReply) || ctx.Err() != nil {
		return done, err
	}
	if done == nil {
		done = make([]bool, len(writes))
	}
	errs := slices.Clone(ErrorsOf(err, len(writes)))
	settle(ctx, s, writes, done, errs)
	for _, e := range errs {
		if e == nil {
			continue
		}
		if len(writes) == 1 {
			return done, e
		}
		return done, BatchError(errs)
	}
	return done, nil
}

// settle resolves the writes that have an error as far as it can.
func settle(ctx context.Context, s Store, writes []Write, done []bool, errs []error) {
	var open []int
	for i := range writes {
		if errors.Is(errs[i], ErrLostReply) && (writes[i].Op != Put || writes[i].If != Always) {
			open = append(open, i)
		}
	}
	for try := 1; len(open) > 0; try++ {
		again, err := compare(ctx, s, writes, open, done, errs)
		if err != nil || len(again) == 0 || try == attempts {
			return
		}
		open = repeat(ctx, s, writes, again, done, errs)
	}
}

// compare reads back what the open writes left, and returns those that have not taken effect and still could.
func compare(ctx context.Context, s Store, writes []Write, open []int, done []bool, errs []error) (again []int, err error) {
	keys, limit := make([]string, len(open)), 0
	for j, i := range open {
		keys[j] = writes[i].Key
		limit = max(limit, len(writes[i].Old), len(writes[i].Value))
	}
	found, err := s.Read(ctx, keys, limit)
	if err != nil {
		return nil, err
	}
	for j, i := range open {
		switch writes[i].trace(&found[j]) {
		case applied:
			done[i], errs[i] = true, nil
		case refused:
			done[i], errs[i] = false, nil
		case pending:
			again = append(again, i)
		}
	}
	return again, nil
}

// repeat makes writes again, and returns those of which the outcome is still in doubt. A write that now reports
// false is one of them: the first attempt may have arrived late.
func repeat(ctx context.Context, s Store, writes []Write, again []int, done []bool, errs []error) (open []int) {
	batch := make([]Write, len(again))
	for j, i := range again {
		batch[j] = writes[i]
	}
	made, err := s.Write(ctx, batch)
	for j, e := range ErrorsOf(err, len(batch)) {
		i := again[j]
		switch {
		case e != nil:
			open = append(open, i)
		case made[j]:
			done[i], errs[i] = true, nil
		default:
			open = append(open, i)
		}
	}
	return open
}

type verdict uint8

const (
	unknown verdict = iota
	applied
	refused // whether or not it was applied, it has no effect now
	pending // not applied, and its condition still holds
)

// trace compares the value that is there now with a write whose reply was lost.
func (w *Write) trace(found *ReadResult) verdict {
	equals := func(value []byte) bool { return found.Value != nil && bytes.Equal(found.Value, value) }
	switch {
	case w.Op == Put && equals(w.Value):
		return applied
	case w.Op == Put && (w.If == Absent && !found.Exists() || w.If == Equals && equals(w.Old)):
		return pending
	case w.Op == Put:
		return unknown
	case w.Op == Expire && equals(w.Old):
		return pending // made again, it has the same effect
	case w.Op == Expire:
		return refused
	case !found.Exists():
		return applied
	case w.If == Always || equals(w.Old):
		return pending
	}
	return unknown
}
