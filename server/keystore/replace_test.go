package keystore_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

// leaving is a store whose caller disconnects before each write.
type leaving struct {
	keystore.Store
	leave func()
}

func (l *leaving) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (bool, error) {
	l.leave()
	return l.Store.Swap(ctx, kind, name, old, document, due)
}

// Replace reports a change as made if it was made, even if its reply was lost or its caller disconnected.
func TestReplaceReportsAppliedChanges(t *testing.T) {
	one, two := []byte("one"), []byte("two")
	for _, row := range []struct {
		name          string
		fault         keystoretest.Fault
		old, document []byte
		replaced      bool
		err, unknown  bool
	}{
		{"works", keystoretest.NoFault, one, two, true, false, false},
		{"lost", keystoretest.LoseReply, one, two, true, false, false},
		{"lost removal", keystoretest.LoseReply, one, nil, true, false, false},
		{"lost refusal", keystoretest.LoseReply, two, []byte("three"), false, true, true},
		{"fails", keystoretest.FailBefore, one, two, false, true, false},
		{"fails to remove", keystoretest.FailBefore, one, nil, false, true, false},
		{"delayed", keystoretest.Delay, one, two, true, false, false},
		{"twice", keystoretest.Duplicate, one, two, true, false, false},
		{"refused", keystoretest.NoFault, two, one, true, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			store := keystoretest.NewMemory()
			_, err := store.Swap(t.Context(), keystore.Keysets, "x", nil, one, 0)
			require.NoError(t, err)
			faulty := keystoretest.NewFaultyStore(store, keystoretest.FaultAt(1, row.fault))
			faulty.Pause = time.Millisecond
			ctx, cancel := context.WithCancel(t.Context())
			replaced, err := keystore.Replace(ctx, &leaving{faulty, cancel}, keystore.Keysets, "x", row.old, row.document, 0)
			require.Equal(t, row.err, err != nil, err)
			require.Equal(t, row.replaced, replaced)
			require.Equal(t, row.unknown, errors.Is(err, durable.ErrUnknownOutcome), err)
			now, err := store.Get(t.Context(), keystore.Keysets, "x")
			require.NoError(t, err)
			if row.replaced {
				require.Equal(t, row.document, now)
			} else {
				require.Equal(t, one, now)
			}
			_, err = keystore.Replace(ctx, store, keystore.Keysets, "y", nil, one, 0)
			require.ErrorIs(t, err, context.Canceled, "the caller left before it began")
		})
	}
}

// silent is a store that answers no read for a while.
type silent struct {
	keystore.Store
	reads int // that are still to fail
}

func (s *silent) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	if s.reads--; s.reads >= 0 {
		return nil, keystore.ErrUnavailable
	}
	return s.Store.Get(ctx, kind, name)
}

// Replace retries to read back while the store does not answer, and returns durable.ErrUnknownOutcome if it continues not
// to.
func TestReplaceRetriesToReadBack(t *testing.T) {
	for reads, unknown := range map[int]bool{2: false, 99: true} {
		synctest.Test(t, func(t *testing.T) {
			faulty := keystoretest.NewFaultyStore(keystoretest.NewMemory(), keystoretest.FaultAt(1, keystoretest.LoseReply))
			replaced, err := keystore.Replace(t.Context(), &silent{faulty, reads}, keystore.Keysets, "x", nil, []byte("one"), 0)
			require.Equal(t, !unknown, replaced)
			require.Equal(t, unknown, errors.Is(err, durable.ErrUnknownOutcome), err)
		})
	}
}
