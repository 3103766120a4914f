package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// slow is a KEK with the latency of a network.
type slow struct {
	kms.KEK
	takes time.Duration
}

func (s *slow) Wrap(ctx context.Context, key, additional []byte) ([]byte, error) {
	time.Sleep(s.takes)
	return s.KEK.Wrap(ctx, key, additional)
}

func (s *slow) Unwrap(ctx context.Context, wrapped, additional []byte) ([]byte, error) {
	time.Sleep(s.takes)
	return s.KEK.Unwrap(ctx, wrapped, additional)
}

type unrecorded struct{}

func (unrecorded) Record(context.Context, ...audit.Event) error { return nil }

// fleet contains the keysets of many tenants in a directory.
type fleet struct {
	store   keystore.Store
	kek     kms.KEK
	r       *recovery.Recovery
	tenants []string
}

// newFleet creates COFFER_TENANTS tenants, 200 by default, with one key each.
func newFleet(b *testing.B, takes time.Duration) *fleet {
	n := 200
	if text := os.Getenv("COFFER_TENANTS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(b, err)
	}
	local, err := kms.Open(b.Context(), "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	require.NoError(b, err)
	f := &fleet{kek: &slow{local, takes}}
	f.store, err = sqlitekeys.Open(b.TempDir())
	require.NoError(b, err)
	making, err := keyring.New(f.store, kms.NewSet(local), "bench")
	require.NoError(b, err)
	defer making.Close()
	for i := range n {
		f.tenants = append(f.tenants, fmt.Sprint("tenant-", i))
		tenant, err := making.Tenant(b.Context(), f.tenants[i])
		require.NoError(b, err)
		_, err = tenant.Primary(b.Context(), format.UseCache, classify.PHI)
		require.NoError(b, err)
	}
	ring, err := keyring.New(f.store, kms.NewSet(f.kek), "bench")
	require.NoError(b, err)
	b.Cleanup(ring.Close)
	f.r = &recovery.Recovery{Keyring: ring, Store: f.store, KEKs: kms.NewSet(f.kek), Environment: "bench", Audit: unrecorded{}}
	return f
}

// all calls a function for every tenant, with the concurrency of package recovery.
func (f *fleet) all(ctx context.Context, do func(ctx context.Context, id string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for _, id := range f.tenants {
		g.Go(func() error { return do(ctx, id) })
	}
	return g.Wait()
}

// unlock performs the calls that every use of a tenant's keys needs: it reads the keyset and unwraps the root.
func (f *fleet) unlock(ctx context.Context, id string) (document, root, additional []byte, err error) {
	if document, err = f.store.Get(ctx, keystore.Keysets, id); err != nil {
		return nil, nil, nil, err
	}
	d, err := envelope.ParseDocument(document)
	if err != nil {
		return nil, nil, nil, err
	}
	s := d.Slots[len(d.Slots)-1]
	binding := d.RootBinding(s.Root)
	additional = binding.Append(nil)
	root, err = f.kek.Unwrap(ctx, s.Wrapped, additional)
	return document, root, additional, err
}

// turn performs the calls that every rewrap of a tenant needs: it unwraps and wraps the root, checks the new wrap, and
// stores two changes.
func (f *fleet) turn(ctx context.Context, id string) error {
	old, root, additional, err := f.unlock(ctx, id)
	if err != nil {
		return err
	}
	wrapped, err := f.kek.Wrap(ctx, root, additional)
	if err != nil {
		return err
	}
	if _, err = f.kek.Unwrap(ctx, wrapped, additional); err != nil {
		return err
	}
	for range 2 {
		if _, err := f.store.Swap(ctx, keystore.Keysets, id, old, bytes.Clone(old), 0); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkRewrap compares the rewrap of all tenants with only the calls of the KMS and of the store that it needs.
func BenchmarkRewrap(b *testing.B) {
	for name, takes := range map[string]time.Duration{"Local": 0, "KMS5ms": 5 * time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			f := newFleet(b, takes)
			raw := each(func() error { return f.all(b.Context(), f.turn) })
			compare(b, raw, each(func() error {
				if _, err := f.r.Rewrap(b.Context(), kms.NewSet(f.kek), false); err != nil {
					return err
				}
				_, err := f.r.FinishRewrap(b.Context(), kms.NewSet(f.kek))
				return err
			}))
		})
	}
}

// BenchmarkBackup compares a backup of all tenants with only the KMS calls that open all keysets. Each KMS call takes 5 ms.
func BenchmarkBackup(b *testing.B) {
	f := newFleet(b, 5*time.Millisecond)
	compare(b, each(func() error { return f.unlockAll(b.Context()) }), each(func() error {
		_, err := f.r.Backup(b.Context(), func(fill func(io.Writer) error) error { return fill(io.Discard) })
		return err
	}))
}

// unlockAll unlocks every tenant.
func (f *fleet) unlockAll(ctx context.Context) error {
	return f.all(ctx, func(ctx context.Context, id string) error {
		_, _, _, err := f.unlock(ctx, id)
		return err
	})
}

func (f *fleet) backup(b *testing.B) []byte {
	var file bytes.Buffer
	_, err := f.r.Backup(b.Context(), func(fill func(io.Writer) error) error { return fill(&file) })
	require.NoError(b, err)
	return file.Bytes()
}

func reading(file []byte) io.ReadSeeker { return bytes.NewReader(file) }

// BenchmarkDrill compares a restore drill of all tenants with only its KMS calls. Each KMS call takes 5 ms.
func BenchmarkDrill(b *testing.B) {
	f := newFleet(b, 5*time.Millisecond)
	file := f.backup(b)
	compare(b, each(func() error { return f.unlockAll(b.Context()) }), each(func() error {
		_, err := f.r.Drill(b.Context(), reading(file))
		return err
	}))
}

// BenchmarkRestore compares the restore of all tenants into a new store with only the writes to the store.
func BenchmarkRestore(b *testing.B) {
	f := newFleet(b, 0)
	file := f.backup(b)
	documents := map[string][]byte{}
	for d, err := range keystore.All(b.Context(), f.store, keystore.Keysets) {
		require.NoError(b, err)
		documents[d.Name] = d.Content
	}
	raw := each(func() error {
		into, err := sqlitekeys.Open(b.TempDir())
		if err != nil {
			return err
		}
		return f.all(b.Context(), func(ctx context.Context, id string) error {
			_, err := into.Swap(ctx, keystore.Keysets, id, nil, documents[id], 0)
			return err
		})
	})
	compare(b, raw, each(func() error {
		into, err := sqlitekeys.Open(b.TempDir())
		if err != nil {
			return err
		}
		ring, err := keyring.New(into, kms.NewSet(f.kek), "bench")
		if err != nil {
			return err
		}
		defer ring.Close()
		r := &recovery.Recovery{Keyring: ring, Store: into, KEKs: kms.NewSet(f.kek), Environment: "bench", Audit: unrecorded{}}
		_, err = r.Restore(b.Context(), reading(file), nil)
		return err
	}))
}
