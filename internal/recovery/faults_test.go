package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// hand is an operator or a server over a store, which may be faulty.
type hand struct {
	*recovery.Recovery
	rotator *rotation.Rotator
	keys    *lifecycle.Manager
}

// world is a keystore with its audit log, two tenants, and a backup from before the operation.
type world struct {
	*site
	keks   kms.Set
	log    audit.Recorder
	kept   []sealed // packages that must open whatever happens
	doomed []sealed // packages that the operation may end
	former lifecycle.Key
	backup []byte
	rings  []*keyring.Keyring // of all hands
}

// lose empties the store after all servers stopped: a running server would write back the documents in its memory,
// and may not have noticed the last change.
func (w *world) lose() {
	for _, ring := range w.rings {
		ring.Close()
	}
	w.site.lose()
}

func (w *world) hand(store keystore.Store) *hand {
	ring, err := keyring.New(store, w.keks, "test")
	require.NoError(w.t, err)
	w.t.Cleanup(ring.Close)
	w.rings = append(w.rings, ring)
	h := &hand{Recovery: &recovery.Recovery{Keyring: ring, Store: store, KEKs: w.keks, Environment: "test", Audit: w.log}}
	later := func() time.Time { return time.Now().Add(ring.TTL() + 2*rotation.Margin) }
	h.rotator = rotation.New(rotation.Options{Keyring: ring, Keystore: store, Audit: w.log, Now: later})
	h.keys = lifecycle.New(lifecycle.Options{Rotator: h.rotator, Audit: w.log})
	return h
}

// clean returns a hand over the store without faults.
func (w *world) clean() *hand { return w.hand(w.store()) }

func newWorld(t *testing.T) *world {
	s := newSite(t)
	w := &world{site: s, keks: to(t, urlA), log: s.logged(t).Audit}
	h := w.clean()
	w.kept = append(w.kept, sealWith(t, h.Recovery, "other", classify.PHI), sealWith(t, h.Recovery, "other", classify.PII))
	w.doomed = append(w.doomed, sealWith(t, h.Recovery, "clinic", classify.PHI))
	w.former = primary(t, h.Recovery, "clinic")
	rotateOf(t, h.Recovery, w.former)
	w.backup = backup(t, h.Recovery)
	return w
}

// blind is a store of which some reads fail.
type blind struct {
	keystore.Store
	left atomic.Int32
}

func (b *blind) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	if b.left.Add(-1) >= 0 {
		return nil, keystore.ErrUnavailable
	}
	return b.Store.Get(ctx, kind, name)
}

// durableStep is an operation that changes keys. When run, or a repetition of it, returns nil, the operation must be
// complete.
type durableStep struct {
	name    string
	prepare func(h *hand, w *world) error
	run     func(ctx context.Context, h *hand, w *world) error
	done    func(h *hand, w *world) (bool, error) // in the store
	ends    bool                                  // a restore of the backup must leave it done
	keks    string                                // configured afterwards, A if empty
}

func (h *hand) retire(ctx context.Context, key lifecycle.Key, state envelope.State) error {
	plan, err := h.keys.Prepare(ctx, key, state)
	if err != nil {
		return err
	}
	return plan.Apply(ctx)
}

func (h *hand) reached(w *world, state envelope.State) (bool, error) {
	d, err := h.Keyring.Document(context.Background(), "clinic")
	if err != nil {
		return false, err
	}
	s := d.Keyset(w.former.Use, w.former.Class)
	return s != nil && s.Key(w.former.ID) != nil && s.Key(w.former.ID).State >= state, nil
}

// isShredded reports whether a tenant is shredded in the store.
func (h *hand) isShredded(tenant string) (bool, error) {
	d, err := h.Keyring.Document(context.Background(), tenant)
	return err == nil && d.Shredded(), err
}

// keyCount returns how many keys of packages the tenant has.
func (h *hand) keyCount(w *world) int {
	d, err := h.Keyring.Document(context.Background(), "clinic")
	if err != nil {
		return 0
	}
	return len(d.Keyset(w.former.Use, w.former.Class).Keys)
}

func (h *hand) rotate(ctx context.Context, order rotation.Order) error {
	_, err := h.rotator.Begin(ctx, "clinic", order)
	return err
}

// under reports whether a KEK opens every root of all tenants. If alone is true, no other KEK may have a slot.
func (h *hand) under(keks kms.Set, alone bool) (bool, error) {
	status, err := h.CountRootsByKEK(context.Background())
	if err != nil {
		return false, err
	}
	url := keks.All()[0].URL()
	for urls := range status {
		if urls != url && (alone || !strings.Contains(urls, url)) {
			return false, nil
		}
	}
	return true, nil
}

func steps(t *testing.T) []durableStep {
	b := to(t, urlB)
	rewrap := func(ctx context.Context, h *hand, _ *world) error {
		_, err := h.Rewrap(ctx, b, false)
		return err
	}
	disable := func(ctx context.Context, h *hand, w *world) error { return h.retire(ctx, w.former, envelope.Disabled) }
	return []durableStep{
		{
			name: "first key",
			run: func(ctx context.Context, h *hand, w *world) error {
				k, err := h.Keyring.Tenant(ctx, "new")
				if err != nil {
					return err
				}
				pkg, err := seal.NewSealer(k).Seal(ctx, nil, seal.Request{Use: format.UseCache, Class: classify.PHI, Type: format.Text}, []byte("v"))
				if err == nil {
					w.kept = append(w.kept, sealed{"new", classify.PHI, pkg})
				}
				return err
			},
			done: func(h *hand, _ *world) (bool, error) {
				d, err := h.Keyring.Document(context.Background(), "new")
				return err == nil && d.Keyset(format.UseCache, classify.PHI) != nil, nil
			},
		},
		{
			name: "rotate",
			run:  func(ctx context.Context, h *hand, _ *world) error { return h.rotate(ctx, rotation.Order{}) },
			done: func(h *hand, w *world) (bool, error) { return h.keyCount(w) > 2, nil },
		},
		{
			name: "rotate compromised",
			run: func(ctx context.Context, h *hand, _ *world) error {
				return h.rotate(ctx, rotation.Order{Compromised: true})
			},
			done: func(h *hand, w *world) (bool, error) { return h.reached(w, envelope.Compromised) },
		},
		{
			name:    "rollback",
			prepare: func(h *hand, _ *world) error { return h.rotate(context.Background(), rotation.Order{}) },
			run: func(ctx context.Context, h *hand, _ *world) error {
				_, err := h.rotator.Rollback(ctx, "clinic", rotation.Requester{})
				return err
			},
			done: func(h *hand, w *world) (bool, error) { // it has an epoch without a new key
				d, err := h.Keyring.Document(context.Background(), "clinic")
				if err != nil {
					return false, err
				}
				s := d.Keyset(w.former.Use, w.former.Class)
				return int(s.Epoch()) > len(s.Keys), nil
			},
		},
		{name: "disable", run: disable, done: func(h *hand, w *world) (bool, error) { return h.reached(w, envelope.Disabled) }},
		{
			name:    "destroy",
			prepare: func(h *hand, w *world) error { return disable(context.Background(), h, w) },
			run:     func(ctx context.Context, h *hand, w *world) error { return h.retire(ctx, w.former, envelope.Destroyed) },
			done:    func(h *hand, w *world) (bool, error) { return h.reached(w, envelope.Destroyed) },
			ends:    true,
		},
		{
			name: "shred",
			run:  func(ctx context.Context, h *hand, _ *world) error { return h.Shred(ctx, "clinic") },
			done: func(h *hand, _ *world) (bool, error) { return h.isShredded("clinic") },
			ends: true,
		},
		{
			name: "rewrap", run: rewrap, keks: urlB,
			done: func(h *hand, _ *world) (bool, error) { return h.under(b, false) },
		},
		{
			name: "finish", keks: urlB,
			prepare: func(h *hand, w *world) error { return rewrap(context.Background(), h, w) },
			run: func(ctx context.Context, h *hand, _ *world) error {
				_, err := h.FinishRewrap(ctx, b)
				return err
			},
			done: func(h *hand, _ *world) (bool, error) { return h.under(b, true) },
		},
		{
			name: "new roots",
			run: func(ctx context.Context, h *hand, _ *world) error {
				_, err := h.ReplaceRoots(ctx)
				return err
			},
			done: func(h *hand, _ *world) (bool, error) {
				for _, id := range []string{"clinic", "other"} {
					d, err := h.Keyring.Document(context.Background(), id)
					if err != nil {
						return false, err
					}
					if slices.ContainsFunc(d.Lines(), func(line line) bool { return d.Generation(line) < 2 }) {
						return false, nil
					}
				}
				return true, nil
			},
		},
		{
			name: "restore",
			prepare: func(_ *hand, w *world) error {
				w.lose()
				return nil
			},
			run: func(ctx context.Context, h *hand, w *world) error { return w.restore(ctx, h, nil) },
			done: func(h *hand, _ *world) (bool, error) {
				_, clinic := h.Keyring.Document(context.Background(), "clinic")
				_, other := h.Keyring.Document(context.Background(), "other")
				return clinic == nil && other == nil, nil
			},
		},
	}
}

func (w *world) restore(ctx context.Context, h *hand, endings *recovery.Tombstones) error {
	_, err := h.Restore(ctx, bytes.NewReader(w.backup), endings)
	return err
}

// try runs the step with one fault, and returns the number of writes. After the fault, the next unread reads fail as
// well.
func (w *world) try(t *testing.T, s *durableStep, n int, fault keystoretest.Fault, unread int32) (writes int) {
	if s.prepare != nil {
		require.NoError(t, s.prepare(w.clean(), w))
	}
	store := &blind{}
	faulty := keystoretest.NewFaultyStore(w.store(), func(write keystoretest.Write) keystoretest.Fault {
		if write.N != n {
			return keystoretest.NoFault
		}
		store.left.Store(unread)
		return fault
	})
	faulty.Pause, store.Store = time.Millisecond, faulty
	h := w.hand(store)
	err := s.run(t.Context(), h, w)
	writes = faulty.Writes()
	h.Keyring.Close()
	if err == nil {
		w.requireDone(t, s, "it was acknowledged")
	}
	if unread == 0 && (fault == keystoretest.LoseReply || fault == keystoretest.Duplicate || fault == keystoretest.Delay) {
		require.NoError(t, err, "the write is there")
	}
	w.agree(t, unread > readBacks)
	faulty.ApplyLateWrites() // late writes arrive before the operation is repeated
	require.NoError(t, s.run(t.Context(), w.clean(), w), "a repetition completes it")
	w.requireDone(t, s, "after the repetition")
	if s.keks != "" {
		w.keks = to(t, s.keks)
	}
	w.requireKept(t, "")
	w.agree(t, false)
	w.restoreLost(t, s)
	return writes
}

func (w *world) requireDone(t *testing.T, s *durableStep, why string) {
	t.Helper()
	done, err := s.done(w.clean(), w)
	require.NoError(t, err)
	require.True(t, done, why)
}

func (w *world) requireKept(t *testing.T, why string) {
	t.Helper()
	h := w.clean()
	for _, p := range w.kept {
		require.NoError(t, p.open(h.Recovery), "%s of %s %s", p.class, p.tenant, why)
	}
}

// readBacks is more reads than an operation makes to read back.
const readBacks = 100

// agree compares the audit log with the store: every destruction and shredding is in both. If the store could not be
// read back, the log may also have an operation with an unknown outcome.
func (w *world) agree(t *testing.T, unknown bool) {
	t.Helper()
	same := func(made, recorded bool) {
		t.Helper()
		require.True(t, made == recorded || unknown && recorded, "made: %t, recorded: %t", made, recorded)
	}
	endings := w.endings(t)
	h := w.clean()
	for _, id := range []string{"clinic", "other"} {
		shredded, err := h.isShredded(id)
		if errors.Is(err, keyring.ErrNoTenant) {
			return
		}
		require.NoError(t, err)
		same(shredded, recordsShredding(t, h.Recovery, endings, id))
	}
	destroyed, err := h.reached(w, envelope.Destroyed)
	require.NoError(t, err)
	shredded, err := h.isShredded("clinic")
	require.NoError(t, err)
	same(destroyed && !shredded, endings.Has("clinic", w.former.ID[:]))
}

// restoreLost empties the store and restores the backup from before the operation: nothing that was destroyed or
// shredded comes back.
func (w *world) restoreLost(t *testing.T, s *durableStep) {
	if !s.ends {
		return
	}
	endings := w.endings(t)
	w.lose()
	require.NoError(t, w.restore(t.Context(), w.clean(), endings))
	w.requireDone(t, s, "after a restore of the backup from before")
	w.requireKept(t, "after a restore")
}

// recordsShredding reports whether the audit log has a shredding of the tenant.
func recordsShredding(t *testing.T, r *recovery.Recovery, e *recovery.Tombstones, id string) bool {
	d, err := r.Keyring.Document(t.Context(), id)
	require.NoError(t, err)
	lines := d.Lines()
	for _, s := range d.Shreds {
		lines = append(lines, s.Line)
	}
	return slices.ContainsFunc(lines, func(line line) bool { return e.Has(id, line[:]) })
}

// Every write of every operation is tested with every fault of the store: its reply is lost, it fails, is delayed,
// applied twice or out of order. No acknowledged change is lost, a repetition completes the operation, the audit log
// and the keysets agree, and a restore of an earlier backup brings back nothing that was destroyed.
func TestOperationsSurviveStoreFaults(t *testing.T) {
	for _, s := range steps(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			writes := newWorld(t).try(t, &s, 0, keystoretest.NoFault, 0)
			require.Positive(t, writes)
			for _, fault := range keystoretest.Faults {
				for n := 1; n <= writes; n++ {
					t.Run(fmt.Sprint(fault, " at ", n), func(t *testing.T) { newWorld(t).try(t, &s, n, fault, 0) })
				}
			}
			for _, unread := range []int32{1, 2, 1000} {
				for n := 1; n <= writes; n++ {
					t.Run(fmt.Sprint("loses the reply and ", unread, " reads at ", n), func(t *testing.T) {
						newWorld(t).try(t, &s, n, keystoretest.LoseReply, unread)
					})
				}
			}
		})
	}
}
