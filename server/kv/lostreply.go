package kv

import (
	"bytes"
	"context"
	"errors"
	"slices"
)

// maxAttempts is how often applyWrites makes a write whose reply is lost.
const maxAttempts = 3

// applyWrites makes the writes, and determines the outcome of those whose reply was lost. It reads the key back,
// compares the values, and makes the write again if it did not take effect. This relies on values that are unique to
// one write, as packages with a random nonce are: if the store has the value, this write was applied.
//
// Three outcomes cannot be determined. If the key of a Remove is missing, it was removed by this call or by another
// one, or it expired; applyWrites reports that it was removed. If the key has a third value, that value was written
// before or after this write; applyWrites returns the error of the lost reply, and never reports that nothing was
// changed. If the store cannot be read, it returns the same error.
func applyWrites(ctx context.Context, s Store, writes []Write) (done []bool, err error) {
	done, err = s.Write(ctx, writes)
	if err == nil || !errors.Is(err, ErrLostReply) || ctx.Err() != nil {
		return done, err
	}
	if done == nil {
		done = make([]bool, len(writes))
	}
	errs := slices.Clone(ErrorsOf(err, len(writes)))
	resolveLostReplies(ctx, s, writes, done, errs)
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

// resolveLostReplies determines, as far as possible, the outcomes of the writes whose reply was lost, and updates done
// and errs.
func resolveLostReplies(ctx context.Context, s Store, writes []Write, done []bool, errs []error) {
	var unresolved []int
	for i := range writes {
		if errors.Is(errs[i], ErrLostReply) && (writes[i].Op != Put || writes[i].If != Always) {
			unresolved = append(unresolved, i)
		}
	}
	for attempt := 1; len(unresolved) > 0; attempt++ {
		pendingWrites, err := readBack(ctx, s, writes, unresolved, done, errs)
		if err != nil || len(pendingWrites) == 0 || attempt == maxAttempts {
			return
		}
		unresolved = retryPending(ctx, s, writes, pendingWrites, done, errs)
	}
}

// readBack reads the keys of unresolved writes. It returns the writes that were not applied but could be, because their
// condition still holds.
func readBack(ctx context.Context, s Store, writes []Write, unresolved []int, done []bool, errs []error) (pendingWrites []int, err error) {
	keys, limit := make([]string, len(unresolved)), 0
	for j, i := range unresolved {
		keys[j] = writes[i].Key
		limit = max(limit, len(writes[i].Old), len(writes[i].Value))
	}
	found, err := s.Read(ctx, keys, limit)
	if err != nil {
		return nil, err
	}
	for j, i := range unresolved {
		switch writes[i].outcomeFrom(&found[j]) {
		case applied:
			done[i], errs[i] = true, nil
		case refused:
			done[i], errs[i] = false, nil
		case pending:
			pendingWrites = append(pendingWrites, i)
		}
	}
	return pendingWrites, nil
}

// retryPending makes writes again. It returns those whose outcome is still unknown. They include writes that now report
// false, because the first attempt may have arrived late.
func retryPending(ctx context.Context, s Store, writes []Write, pendingWrites []int, done []bool, errs []error) (unresolved []int) {
	batch := make([]Write, len(pendingWrites))
	for j, i := range pendingWrites {
		batch[j] = writes[i]
	}
	results, err := s.Write(ctx, batch)
	for j, e := range ErrorsOf(err, len(batch)) {
		i := pendingWrites[j]
		switch {
		case e != nil:
			unresolved = append(unresolved, i)
		case results[j]:
			done[i], errs[i] = true, nil
		default:
			unresolved = append(unresolved, i)
		}
	}
	return unresolved
}

type outcome uint8

const (
	unknown outcome = iota
	applied
	refused // it has no effect now, whether or not it was applied
	pending // it was not applied, and its condition still holds
)

// outcomeFrom returns the outcome of a write whose reply was lost, given the present value of its key.
func (w *Write) outcomeFrom(found *ReadResult) outcome {
	equals := func(value []byte) bool { return found.Value != nil && bytes.Equal(found.Value, value) }
	switch {
	case w.Op == Put && equals(w.Value):
		return applied
	case w.Op == Put && (w.If == Absent && !found.Exists() || w.If == Equals && equals(w.Old)):
		return pending
	case w.Op == Put:
		return unknown
	case w.Op == Expire && equals(w.Old):
		return pending // making it again has the same effect
	case w.Op == Expire:
		return refused
	case !found.Exists():
		return applied
	case w.If == Always || equals(w.Old):
		return pending
	}
	return unknown
}
