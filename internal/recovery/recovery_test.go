package recovery_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	urlA = "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	urlB = "base64key://ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A="
)

func openKEK(t testing.TB, url string) kms.KEK {
	kek, err := kms.Open(context.Background(), url)
	require.NoError(t, err)
	return kek
}

// events is an audit log in memory.
type events struct {
	mu   sync.Mutex
	all  []audit.Event
	fail error
}

func (e *events) Record(_ context.Context, some ...audit.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, some...)
	return e.fail
}

func (e *events) actions() (names []string) {
	for _, one := range e.all {
		names = append(names, one.Action.String()+" "+one.Tenant+one.Code)
	}
	return names
}

// site is a keystore with the packages that were sealed under its keysets.
type site struct {
	t      testing.TB
	dir    string
	events *events
}

func newSite(t testing.TB) *site { return &site{t, t.TempDir(), &events{}} }

func (s *site) store() keystore.Store {
	store, err := sqlitekeys.Open(s.dir)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = store.Close() })
	return store
}

// under returns the Recovery of an operator who configured these KEKs.
func (s *site) under(keks kms.Set) *recovery.Recovery { return s.in("test", keks) }

func (s *site) in(environment string, keks kms.Set) *recovery.Recovery {
	r := s.running(environment, keks)
	r.Keyring.Close() // looks at the store when it is told to, and at no other time brings back what it knew
	return r
}

// server is a running server, which follows the changes of the store.
func (s *site) server() *recovery.Recovery { return s.running("test", kms.NewSet(openKEK(s.t, urlA))) }

func (s *site) running(environment string, keks kms.Set) *recovery.Recovery {
	store := s.store()
	ring, err := keyring.New(store, keks, environment)
	require.NoError(s.t, err)
	s.t.Cleanup(ring.Close)
	return &recovery.Recovery{Keyring: ring, Store: store, KEKs: keks, Environment: environment, Audit: s.events}
}

func (s *site) a() *recovery.Recovery { return s.under(kms.NewSet(openKEK(s.t, urlA))) }
func (s *site) b() *recovery.Recovery { return s.under(kms.NewSet(openKEK(s.t, urlB))) }

// dry returns a Recovery that writes nothing.
func dry(t testing.TB, r *recovery.Recovery) *recovery.Recovery {
	dry, err := r.DryRun()
	require.NoError(t, err)
	t.Cleanup(dry.Keyring.Close)
	return dry
}

// either returns a Recovery, or one for a dry run.
func either(t testing.TB, r *recovery.Recovery, isDry bool) *recovery.Recovery {
	if isDry {
		return dry(t, r)
	}
	return r
}

// lose empties the store.
func (s *site) lose() {
	require.NoError(s.t, os.Remove(filepath.Join(s.dir, "keys.db")))
}

// sealed is a package with its tenant.
type sealed struct {
	tenant string
	class  classify.Class
	bytes  []byte
}

func sealWith(t testing.TB, r *recovery.Recovery, tenant string, class classify.Class) sealed {
	k, err := r.Keyring.Tenant(context.Background(), tenant)
	require.NoError(t, err)
	pkg, err := seal.NewSealer(k).Seal(t.Context(), nil, seal.Request{Use: format.UseCache, Class: class, Type: format.Text}, []byte("a planted value"))
	require.NoError(t, err)
	return sealed{tenant, class, pkg}
}

func (p sealed) open(r *recovery.Recovery) error {
	k, err := r.Keyring.Tenant(context.Background(), p.tenant)
	if err != nil {
		return err
	}
	_, err = seal.NewSealer(k).Open(context.Background(), nil, p.bytes, format.Place{}, envelope.OpenPolicy{Use: format.UseCache})
	return err
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return codes.Of(err).Code
}

// populate creates tenants, each with a package of two classes.
func populate(t testing.TB, r *recovery.Recovery, n int) (all []sealed) {
	for i := range n {
		for _, class := range []classify.Class{classify.Internal, classify.PHI} {
			all = append(all, sealWith(t, r, fmt.Sprint("tenant-", i), class))
		}
	}
	return all
}

func openAll(t testing.TB, r *recovery.Recovery, all []sealed, want string) {
	t.Helper()
	for _, p := range all {
		require.Equal(t, want, code(p.open(r)), p.tenant)
	}
}

func to(t testing.TB, url string) kms.Set { return kms.NewSet(openKEK(t, url)) }

// During a rewrap to another KEK, the former KEK continues to work until the rewrap is finished. Finishing is
// refused, with the names of the tenants, while a tenant needs the former KEK.
func TestRewrapKeepsFormerKEKUntilFinished(t *testing.T) {
	s := newSite(t)
	a := s.a()
	all := populate(t, a, 6)
	server := s.server() // with everything unlocked
	openAll(t, server, all, "")
	_, err := a.FinishRewrap(t.Context(), to(t, urlB))
	require.ErrorIs(t, err, recovery.ErrRewrapUnfinished)

	done, err := a.Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	require.Equal(t, []int{6, 6}, []int{done.Tenants, done.Count})
	openAll(t, server, all, "")
	openAll(t, s.a(), all, "")
	openAll(t, s.b(), all, "")

	late := sealWith(t, server, "late", classify.PHI)
	require.Equal(t, "key_unusable", code(late.open(s.b())))
	for _, r := range []*recovery.Recovery{s.a(), s.b()} {
		finished, err := r.FinishRewrap(t.Context(), to(t, urlB))
		require.ErrorIs(t, err, recovery.ErrRewrapUnfinished)
		require.Len(t, finished.Failures, 1)
		require.Equal(t, "late", finished.Failures[0].Tenant)
		require.Zero(t, finished.Count)
	}
	openAll(t, s.a(), all, "")

	again, err := a.Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	require.Equal(t, 1, again.Count, "rewrapped tenants are skipped")
	status, err := a.CountRootsByKEK(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{openKEK(t, urlB).URL() + " and " + openKEK(t, urlA).URL(): 7}, status)
	_, err = a.FinishRewrap(t.Context(), to(t, urlA))
	require.ErrorIs(t, err, recovery.ErrRewrapUnfinished, "the rewrap was to another KEK")
	finished, err := s.b().FinishRewrap(t.Context(), to(t, urlB))
	require.NoError(t, err)
	require.Equal(t, []int{7, 7}, []int{finished.Tenants, finished.Count})
	openAll(t, s.b(), append(all, late), "")
	openAll(t, s.a(), append(all, late), "key_unusable")
	status, err = a.CountRootsByKEK(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{openKEK(t, urlB).URL(): 7}, status)
	begun, refused := "kek.rewrap ", []string{"kek.rewrap ", "kek.rewrap key_unusable"}
	require.Equal(t, slices.Concat(refused, []string{begun, begun}, refused, refused, []string{begun, begun}, refused, []string{begun, begun}), s.events.actions())
	first, last := s.events.all[0].Facts, s.events.all[13].Facts
	require.Equal(t, []string{openKEK(t, urlA).URL(), openKEK(t, urlB).URL()}, []string{first[audit.FactFrom], first[audit.FactTo]})
	require.Equal(t, []string{"7", "0"}, []string{last[audit.FactDone], last[audit.FactFailed]})
}

// versions is a KEK whose key was rotated in its KMS: it wraps under the newest version and unwraps under any.
type versions struct{ all []kms.KEK }

func (v *versions) Wrap(ctx context.Context, key, additional []byte) ([]byte, error) {
	return v.all[len(v.all)-1].Wrap(ctx, key, additional)
}

func (v *versions) Unwrap(ctx context.Context, wrapped, additional []byte) ([]byte, error) {
	for _, one := range v.all {
		if key, err := one.Unwrap(ctx, wrapped, additional); err == nil {
			return key, nil
		}
	}
	return nil, kms.ErrWrongKey
}

func (*versions) URL() string { return "versioned://key" }

// The same operation rewraps to a new version of the same KEK. Afterwards the former version opens nothing.
func TestRewrapToNewVersionOfTheKEK(t *testing.T) {
	s := newSite(t)
	first, second, third := openKEK(t, urlA), openKEK(t, urlB), openKEK(t, "base64key://QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVpbXF1eX2A=")
	versioned := func(keks ...kms.KEK) kms.Set { return kms.NewSet(&versions{keks}) }
	all := populate(t, s.under(versioned(first)), 3)
	for i, keks := range [][]kms.KEK{{first, second}, {first, second, third}} {
		r := s.under(versioned(keks...))
		for range 2 { // the second wraps all again: the version may be another one
			done, err := r.Rewrap(t.Context(), versioned(keks...), false)
			require.NoError(t, err)
			require.Equal(t, 3, done.Count)
		}
		for id := range 3 {
			d, err := r.Keyring.Document(t.Context(), fmt.Sprint("tenant-", id))
			require.NoError(t, err)
			require.Len(t, d.Slots, 1)
		}
		openAll(t, s.under(versioned(keks[i+1:]...)), all, "")
		openAll(t, s.under(versioned(keks[:i+1]...)), all, "authentication_failed")
	}
}

// A rewrap to a new version of a KEK does not undo an unfinished rewrap to that KEK.
func TestRewrapDuringUnfinishedRewrap(t *testing.T) {
	s := newSite(t)
	all := populate(t, s.a(), 2)
	_, err := s.a().Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	late := sealWith(t, s.a(), "late", classify.PHI)
	done, err := s.b().Rewrap(t.Context(), to(t, urlB), false)
	require.ErrorIs(t, err, kms.ErrWrongKey)
	require.Equal(t, 2, done.Count)
	require.Len(t, done.Failures, 1)
	require.Equal(t, "late", done.Failures[0].Tenant)
	openAll(t, s.a(), append(all, late), "")
	_, err = s.a().Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	finished, err := s.b().FinishRewrap(t.Context(), to(t, urlB))
	require.NoError(t, err)
	require.Equal(t, 3, finished.Count)
	openAll(t, s.b(), append(all, late), "")
	openAll(t, s.a(), append(all, late), "key_unusable")
}

// A rewrap can be finished only for the KEK that it last wrapped to.
func TestFinishRewrapRefusesEarlierTarget(t *testing.T) {
	s := newSite(t)
	all := populate(t, s.a(), 2)
	_, err := s.a().Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	_, err = s.a().FinishRewrap(t.Context(), to(t, urlA))
	require.ErrorIs(t, err, recovery.ErrRewrapUnfinished)
	_, err = s.a().Rewrap(t.Context(), to(t, urlA), false)
	require.NoError(t, err)
	_, err = s.a().FinishRewrap(t.Context(), to(t, urlB))
	require.ErrorIs(t, err, recovery.ErrRewrapUnfinished)
	_, err = s.a().FinishRewrap(t.Context(), to(t, urlA))
	require.NoError(t, err)
	openAll(t, s.a(), all, "")
	openAll(t, s.b(), all, "key_unusable")
}

// corrupting is a KEK that does not unwrap the roots that it wrapped.
type corrupting struct{ kms.KEK }

func (c corrupting) Wrap(ctx context.Context, key, additional []byte) ([]byte, error) {
	wrapped, err := c.KEK.Wrap(ctx, key, additional)
	if err == nil && !strings.Contains(string(additional), "coffer check") {
		wrapped[len(wrapped)-1] ^= 1
	}
	return wrapped, err
}

// A former slot is replaced only after the KEK unwrapped the new one.
func TestRewrapVerifiesNewSlots(t *testing.T) {
	s := newSite(t)
	all := populate(t, s.a(), 2)
	done, err := s.a().Rewrap(t.Context(), kms.NewSet(corrupting{openKEK(t, urlA)}), false)
	require.ErrorIs(t, err, envelope.ErrAuthentication)
	require.Equal(t, []int{0, 2}, []int{done.Count, len(done.Failures)})
	openAll(t, s.a(), all, "")
}

func TestBackupAndDrillRefuseAStoreWithoutTenants(t *testing.T) {
	r := newSite(t).a()
	_, err := r.Backup(t.Context(), into(io.Discard))
	require.ErrorIs(t, err, recovery.ErrNoKeys)
	var file bytes.Buffer
	tenants, err := r.Keyring.Backup(t.Context(), &file, nil)
	require.NoError(t, err)
	require.Zero(t, tenants)
	_, err = r.Drill(t.Context(), reading(file.Bytes()))
	require.ErrorIs(t, err, recovery.ErrNoKeys)
}

// Each class's KEK is rewrapped to the new KEK of the class.
func TestRewrapByClass(t *testing.T) {
	s := newSite(t)
	one := kms.NewSet(openKEK(t, urlA))
	all := populate(t, s.under(one.With(classify.PHI, openKEK(t, urlB))), 2)
	other := openKEK(t, "base64key://QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVpbXF1eX2A=")
	from, next := s.under(one.With(classify.PHI, openKEK(t, urlB))), one.With(classify.PHI, other)
	done, err := from.Rewrap(t.Context(), next, false)
	require.NoError(t, err)
	require.Equal(t, 2, done.Count, "the general KEK stays")
	_, err = from.FinishRewrap(t.Context(), next)
	require.NoError(t, err)
	openAll(t, s.under(next), all, "")
	require.Error(t, all[1].open(from))
	merged, err := s.under(next).Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	require.Equal(t, 4, merged.Count, "both to one")
	_, err = s.under(next).FinishRewrap(t.Context(), to(t, urlB))
	require.NoError(t, err)
	openAll(t, s.b(), all, "")
}

// failing is a KEK that fails from a given call on.
type failing struct {
	kms.KEK
	mu   sync.Mutex
	left int
}

func (f *failing) Wrap(ctx context.Context, key, additional []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left--; f.left < 0 {
		return nil, kms.ErrUnavailable
	}
	return f.KEK.Wrap(ctx, key, additional)
}

// A run that failed because of the KMS can be repeated. A rewrap to a KEK that does not work does not start.
func TestFailedRewrapCanBeRepeated(t *testing.T) {
	s := newSite(t)
	r := s.a()
	all := populate(t, r, 9)
	_, err := r.Rewrap(t.Context(), kms.NewSet(&failing{KEK: openKEK(t, urlB)}), false)
	require.ErrorIs(t, err, kms.ErrUnavailable)
	broken, err := r.Rewrap(t.Context(), kms.NewSet(&failing{KEK: openKEK(t, urlB), left: 5}), false)
	require.ErrorIs(t, err, kms.ErrUnavailable)
	require.NotEmpty(t, broken.Failures)
	_, err = r.FinishRewrap(t.Context(), to(t, urlB))
	require.ErrorIs(t, err, recovery.ErrRewrapUnfinished)
	openAll(t, s.a(), all, "")
	status, err := r.CountRootsByKEK(t.Context())
	require.NoError(t, err)
	left := status[openKEK(t, urlA).URL()]
	require.GreaterOrEqual(t, left, 5, "the check took one call")
	done, err := r.Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	require.Equal(t, left, done.Count)
	openAll(t, s.b(), all, "")
}

// An operation that cannot be recorded is not done.
func TestUnrecordedOperationIsNotDone(t *testing.T) {
	s := newSite(t)
	r := s.a()
	all := populate(t, r, 2)
	file := backup(t, r)
	s.events.fail = audit.ErrUnavailable
	_, err := r.Rewrap(t.Context(), to(t, urlB), false)
	require.ErrorIs(t, err, audit.ErrUnavailable)
	require.ErrorIs(t, r.Shred(t.Context(), "tenant-0"), audit.ErrUnavailable)
	_, err = r.Backup(t.Context(), into(io.Discard))
	require.ErrorIs(t, err, audit.ErrUnavailable)
	_, err = r.Drill(t.Context(), reading(file))
	require.ErrorIs(t, err, audit.ErrUnavailable)
	s.lose()
	_, err = s.a().Restore(t.Context(), reading(file), nil)
	require.ErrorIs(t, err, audit.ErrUnavailable)
	require.False(t, slices.ContainsFunc(all, func(p sealed) bool { return p.open(s.a()) == nil }))
}

func TestShred(t *testing.T) {
	s := newSite(t)
	r := s.a()
	all := populate(t, r, 2)
	server := s.server()
	openAll(t, server, all, "")
	require.ErrorIs(t, r.Shred(t.Context(), "nobody"), keyring.ErrNoTenant)
	for range 2 {
		require.NoError(t, r.Shred(t.Context(), "tenant-0"))
	}
	recovery.WaitForPropagation(t.Context())
	openAll(t, server, all[:2], "key_destroyed")
	openAll(t, s.a(), all[:2], "key_destroyed")
	openAll(t, server, all[2:], "")
	require.Equal(t, []string{"tenant.shred tenant-0", "tenant.shred tenant-0"}, s.events.actions())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begun := time.Now()
	recovery.WaitForPropagation(ctx)
	require.Less(t, time.Since(begun), 2*keyring.CheckInterval)
}
