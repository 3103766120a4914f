package recovery_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

func backup(t testing.TB, r *recovery.Recovery) []byte {
	var file bytes.Buffer
	_, err := r.Backup(t.Context(), into(&file))
	require.NoError(t, err)
	return file.Bytes()
}

// into returns a create function that writes the backup to w.
func into(w io.Writer) func(fill func(io.Writer) error) error {
	return func(fill func(io.Writer) error) error { return fill(w) }
}

func reading(file []byte) io.ReadSeeker { return bytes.NewReader(file) }

// A backup restores a lost store completely, under either of its KEKs.
func TestRestoreIntoEmptyStore(t *testing.T) {
	s := newSite(t)
	keks := kms.NewSet(openKEK(t, urlA)).With(classify.PHI, openKEK(t, urlB))
	all := populate(t, s.under(keks), 5)
	file := backup(t, s.under(keks))
	require.NotContains(t, string(file), "a planted value")
	drill, err := s.under(keks).Drill(t.Context(), reading(file))
	require.NoError(t, err)
	require.Equal(t, []int{5, 0, 10, 10}, []int{drill.Tenants, drill.Shredded, drill.Roots, drill.Keys})
	require.WithinDuration(t, time.Now(), drill.Created, time.Minute)

	s.lose()
	dry, err := dry(t, s.under(keks)).Restore(t.Context(), reading(file), nil)
	require.NoError(t, err)
	require.Len(t, dry.Changes, 5)
	require.Equal(t, recovery.Change{Tenant: "tenant-0", New: true}, dry.Changes[0])
	for range keystore.All(t.Context(), s.store(), keystore.Keysets) {
		t.Fatal("a dry run changed something")
	}
	wet, err := s.under(keks).Restore(t.Context(), reading(file), nil)
	require.NoError(t, err)
	require.Equal(t, dry, wet)
	openAll(t, s.under(keks), all, "")
	again, err := s.under(keks).Restore(t.Context(), reading(file), nil)
	require.NoError(t, err)
	require.Equal(t, []int{0, 5}, []int{len(again.Changes), again.Unchanged})
	require.Equal(t, []string{"backup.create ", "backup.create ", "backup.drill ", "backup.restore ", "backup.restore ", "backup.restore ", "backup.restore "}, s.events.actions())

	part, err := s.a().Drill(t.Context(), reading(file))
	require.ErrorIs(t, err, keyring.ErrUnreadable, "it lacks the KEK of a class")
	require.Len(t, part.Failures, 5)
}

// A restore over newer keys loses none of them, and brings back nothing that was destroyed or shredded since the
// backup.
func TestRestoreKeepsNewerKeys(t *testing.T) {
	s := newSite(t)
	r := s.a()
	all := populate(t, r, 3)
	file := backup(t, r)
	rotate := func(tenant string) format.KeyID {
		time.Sleep(2 * time.Millisecond)
		k, err := r.Keyring.Tenant(t.Context(), tenant)
		require.NoError(t, err)
		former, err := k.Primary(t.Context(), format.UseCache, classify.PHI)
		require.NoError(t, err)
		_, err = k.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
		require.NoError(t, err)
		return former
	}
	rotate("tenant-0")
	newer := sealWith(t, r, "tenant-0", classify.PHI)
	require.NoError(t, r.Keyring.Advance(t.Context(), "tenant-1", format.UseCache, classify.PHI, rotate("tenant-1"), envelope.Destroyed))
	require.NoError(t, r.Shred(t.Context(), "tenant-2"))
	unknown := sealWith(t, r, "since", classify.PHI)

	restored, err := s.a().Restore(t.Context(), reading(file), nil)
	require.NoError(t, err)
	require.Equal(t, []int{0, 3}, []int{len(restored.Changes), restored.Unchanged})
	after := s.a()
	openAll(t, after, append(all[:3:3], newer, unknown), "")
	openAll(t, after, all[3:], "key_destroyed")
}

// If a tenant was created again after its keyset was lost, and is then restored, it has two roots. Packages sealed
// under either open, and the tenant can seal.
func TestRestoreMergesTenantsCreatedTwice(t *testing.T) {
	s := newSite(t)
	former := populate(t, s.a(), 2)
	file := backup(t, s.a())
	s.lose()
	server := s.a()
	anew := sealWith(t, server, "tenant-0", classify.PHI)
	require.Equal(t, "unknown_key", code(former[1].open(server)))
	restored, err := s.a().Restore(t.Context(), reading(file), nil)
	require.NoError(t, err)
	require.Equal(t, []bool{false, true}, []bool{restored.Changes[0].New, restored.Changes[1].New})
	for _, r := range []*recovery.Recovery{server, s.a()} {
		openAll(t, r, append(former, anew), "")
		openAll(t, s.a(), []sealed{sealWith(t, r, "tenant-0", classify.PHI), sealWith(t, r, "tenant-0", classify.PII)}, "")
	}
	done, err := s.a().Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	require.Equal(t, 3, done.Count)
	_, err = s.a().FinishRewrap(t.Context(), to(t, urlB))
	require.NoError(t, err)
	openAll(t, s.b(), append(former, anew), "")
}

// A tenant that was shredded after the backup stays shredded because of the audit log, even if the store lost its
// shred record. A new tenant of the same name keeps its new keys.
func TestRestoreKeepsTenantsShredded(t *testing.T) {
	log := func(id string, at time.Time, lines string) string {
		line := func(seq int, action, id string, at time.Time) string {
			return fmt.Sprintf("{\"v\":1,\"chain\":1,\"seq\":%d,\"time\":%q,\"severity\":\"notice\",\"action\":%q,\"outcome\":\"ok\",\"tenant\":%q,\"facts\":{\"from\":%q},\"mac\":\"%064x\"}\n",
				seq, at.UTC().Format("2006-01-02T15:04:05.000Z07:00"), action, id, lines, seq)
		}
		path := filepath.Join(t.TempDir(), "kept.log")
		text := line(1, "key.open", "tenant-3", at) + line(2, "tenant.shred", id, at) + strings.Repeat("\x00", 2<<20) + "\n" + `{"v":1,"chain":1,"seq":3,"action":"tenant.shred","outc`
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	s := newSite(t)
	r := s.a()
	all := populate(t, r, 4)
	file := backup(t, r)
	d, err := r.Keyring.Document(t.Context(), "tenant-1")
	require.NoError(t, err)
	require.NoError(t, r.Shred(t.Context(), "tenant-1"))
	shredded := &recovery.Tombstones{Tenants: map[string]bool{"tenant-2": true, "nobody": true}}
	require.NoError(t, shredded.AddUnprovenLog(t.Context(), log("tenant-1", time.Now(), fmt.Sprintf("%x", d.Lines()[0]))))
	require.Equal(t, map[recovery.ID]bool{{Tenant: "tenant-1", Hex: fmt.Sprintf("%x", d.Lines()[0])}: true}, shredded.IDs)
	s.lose()
	time.Sleep(2 * time.Millisecond)
	anew := sealWith(t, s.a(), "tenant-1", classify.PHI)
	both := backup(t, s.a())

	_, err = s.a().Restore(t.Context(), reading(file), shredded)
	require.ErrorIs(t, err, recovery.ErrUnknownTenants)
	require.ErrorContains(t, err, `["nobody"]`)
	_, err = s.a().Keyring.Document(t.Context(), "tenant-3")
	require.ErrorIs(t, err, keyring.ErrNoTenant, "the store is unchanged")
	delete(shredded.Tenants, "nobody")
	restored, err := s.a().Restore(t.Context(), reading(file), shredded)
	require.NoError(t, err)
	require.Equal(t, []recovery.Destroyed{{Tenant: "tenant-1", Shredded: true}, {Tenant: "tenant-2", Shredded: true}}, restored.Destroyed)
	after := s.a()
	openAll(t, after, append(all[:2:2], all[6:]...), "")
	openAll(t, after, all[2:4], "unknown_key") // the tenant is not shredded as a whole any more
	openAll(t, after, all[4:6], "key_destroyed")
	openAll(t, after, []sealed{anew}, "")

	s.lose()
	delete(shredded.Tenants, "tenant-2")
	again, err := s.a().Restore(t.Context(), reading(both), shredded)
	require.NoError(t, err)
	require.Empty(t, again.Destroyed, "its keys were made after the shredding")
	openAll(t, s.a(), []sealed{anew}, "")
}

// An altered audit log does not shred a tenant, whichever line was altered.
func TestRestoreRefusesAlteredAuditLog(t *testing.T) {
	s := newSite(t)
	r := s.logged(t)
	populate(t, r, 2)
	require.NoError(t, r.Shred(t.Context(), "tenant-0"))
	path := filepath.Join(s.dir, "audit")
	key := audit.NewKey(new(secret.Key))
	shredded := &recovery.Tombstones{}
	require.NoError(t, shredded.AddLog(t.Context(), path, key))
	require.Len(t, shredded.IDs, 1)
	require.True(t, recordsShredding(t, r, shredded, "tenant-0"))

	file := filepath.Join(path, "2", "00000000000000000001.log") // of what outlives retention
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	const forged = `"time":"2026-11-30T00:00:00.000Z","severity":"notice","action":"tenant.shred","outcome":"ok","tenant":"tenant-1"`
	for name, text := range map[string]string{
		"without a chain": "{" + forged + "}\n",
		"with a MAC":      fmt.Sprintf("{\"v\":1,\"chain\":2,\"seq\":%d,%s,\"mac\":\"%064x\"}\n", bytes.Count(good, []byte("\n"))+1, forged, 1),
		"behind zeros":    strings.Repeat("\x00", 2<<20) + "{" + forged + "}\n",
		"of a key":        fmt.Sprintf("{\"v\":1,\"chain\":2,\"seq\":%d,%s,\"keyId\":\"%064x\",\"mac\":\"%064x\"}\n", bytes.Count(good, []byte("\n"))+1, strings.Replace(forged, "tenant.shred", "key.destroy", 1), 7, 1),
		"changed":         "",
	} {
		log := append(bytes.Clone(good), text...)
		if text == "" {
			log = bytes.Replace(log, []byte(`"tenant":"tenant-0"`), []byte(`"tenant":"tenant-1"`), 1)
		}
		require.NoError(t, os.WriteFile(file, log, 0o600))
		none := &recovery.Tombstones{}
		require.ErrorIs(t, none.AddLog(t.Context(), path, key), audit.ErrAltered, name)
		require.Equal(t, &recovery.Tombstones{}, none, name)
	}
	require.NoError(t, os.WriteFile(file, good, 0o600))
}

// Backups of another environment and of another KEK are refused, each with its own error.
func TestRestoreRefusesOtherEnvironmentAndKEK(t *testing.T) {
	s := newSite(t)
	populate(t, s.a(), 1)
	file := backup(t, s.a())
	s.lose()
	refused := func(r *recovery.Recovery, want error, why string) {
		t.Helper()
		for _, err := range []error{second(r.Restore(t.Context(), reading(file), nil)), second(dry(t, r).Restore(t.Context(), reading(file), nil)), second(r.Drill(t.Context(), reading(file)))} {
			require.ErrorIs(t, err, want)
			require.ErrorContains(t, err, why)
		}
	}
	refused(s.in("prod", to(t, urlA)), keyring.ErrWrongEnvironment, `"test"`)
	refused(s.b(), kms.ErrWrongKey, openKEK(t, urlA).URL())
	require.Contains(t, s.events.actions(), "backup.drill invalid_argument")
	for range keystore.All(t.Context(), s.store(), keystore.Keysets) {
		t.Fatal("a refused restore changed something")
	}
}

func second[T any](_ T, err error) error { return err }

// A file that is cut short, altered or mixed from two backups is refused.
func TestDamagedBackupsAreRefused(t *testing.T) {
	s := newSite(t)
	populate(t, s.a(), 2)
	file := backup(t, s.a())
	s.lose()
	populate(t, s.a(), 2)
	other := backup(t, s.a())
	s.lose()
	r := s.a()
	refuse := func(b []byte) {
		t.Helper()
		_, err := r.Restore(t.Context(), reading(b), nil)
		require.Error(t, err)
		require.Contains(t, []string{"authentication_failed", "unsupported_version", "wrong_secret", "invalid_argument"}, codes.Of(err).Code)
	}
	for i := range file {
		altered := bytes.Clone(file)
		altered[i] ^= 1
		refuse(altered)
	}
	for n := 0; n < len(file); n += 7 {
		refuse(file[:n])
	}
	refuse(append(bytes.Clone(file), 0))
	require.Equal(t, len(file), len(other))
	for n := 1; n < len(file); n += 11 {
		if mixed := append(bytes.Clone(file[:n]), other[n:]...); !bytes.Equal(mixed, file) && !bytes.Equal(mixed, other) {
			refuse(mixed)
		}
	}
	for range keystore.All(t.Context(), s.store(), keystore.Keysets) {
		t.Fatal("a refused restore changed something")
	}
}

// A keyset that cannot be read is neither backed up nor overwritten; the other tenants are restored.
func TestDamagedKeysetIsSkipped(t *testing.T) {
	s := newSite(t)
	all := populate(t, s.a(), 3)
	file := backup(t, s.a())
	place := s.store().Location(keystore.Keysets, "tenant-1")
	keystoretest.Put(t, s.store(), keystore.Keysets, "tenant-1", []byte("damaged"))
	another := s.store().Location(keystore.Keysets, "tenant-2")
	kept, err := s.store().Get(t.Context(), keystore.Keysets, "tenant-2")
	require.NoError(t, err)
	keystoretest.Put(t, s.store(), keystore.Keysets, "tenant-2", kept[:len(kept)-1])
	_, err = s.a().Backup(t.Context(), into(io.Discard))
	require.ErrorIs(t, err, keyring.ErrUnreadable)
	require.ErrorContains(t, err, place)
	require.ErrorContains(t, err, another, "all of them are named at once")
	keystoretest.Put(t, s.store(), keystore.Keysets, "tenant-2", kept)
	restored, err := s.a().Restore(t.Context(), reading(file), nil)
	require.ErrorIs(t, err, keyring.ErrUnreadable)
	require.Len(t, restored.Failures, 1)
	require.Equal(t, "tenant-1", restored.Failures[0].Tenant)
	require.ErrorContains(t, restored.Failures[0].Err, place)
	openAll(t, s.a(), append(all[:2:2], all[4:]...), "")
	keystoretest.Put(t, s.store(), keystore.Keysets, "tenant-1", nil)
	_, err = s.a().Restore(t.Context(), reading(file), nil)
	require.NoError(t, err)
	openAll(t, s.a(), all, "")
}

// A keyset with an altered environment label is reported, not silently left out of a backup.
func TestBackupReportsAlteredLabel(t *testing.T) {
	s := newSite(t)
	populate(t, s.a(), 3)
	label := func(from, to string) {
		content, err := s.store().Get(t.Context(), keystore.Keysets, "tenant-1")
		require.NoError(t, err)
		require.Contains(t, string(content), from)
		keystoretest.Put(t, s.store(), keystore.Keysets, "tenant-1", bytes.Replace(content, []byte(from), []byte(to), 1))
	}
	label("test", "tesu")
	_, err := s.a().Backup(t.Context(), into(io.Discard))
	require.ErrorIs(t, err, keyring.ErrWrongEnvironment)
	require.ErrorContains(t, err, s.store().Location(keystore.Keysets, "tenant-1"))
	label("tesu", "test")
	_, err = s.a().Backup(t.Context(), into(io.Discard))
	require.NoError(t, err)
}

// tenantsIn returns the number of tenants in a backup of the vectors.
func tenantsIn(v vectors.Backup) (n int) {
	for _, name := range v.Documents {
		if name != "system" {
			n++
		}
	}
	return n
}

// The valid backups of the vectors open. The invalid ones are refused with the expected codes.
func TestBackupVectors(t *testing.T) {
	kek := func(secret vectors.Secret) kms.Set {
		b, err := base64.StdEncoding.DecodeString(secret.Text)
		require.NoError(t, err)
		return to(t, "base64key://"+base64.StdEncoding.EncodeToString(b))
	}
	for _, v := range vectors.LoadBackups().Backups {
		for _, secret := range v.KEKs {
			s := newSite(t)
			r := s.in(v.Environment, kek(secret))
			drill, err := r.Drill(t.Context(), reading(v.Bytes))
			if len(v.Documents) == 0 {
				require.ErrorIs(t, err, recovery.ErrNoKeys)
				continue
			}
			require.ErrorIs(t, err, keyring.ErrUnreadable, "its documents are under other KEKs")
			require.Equal(t, v.CreatedAt, drill.Created.UnixMilli())
			require.Equal(t, tenantsIn(v), drill.Tenants)
		}
	}
	for _, v := range vectors.LoadBackups().Refusals {
		_, err := newSite(t).in(v.Environment, kek(v.KEK)).Drill(t.Context(), reading(v.Bytes))
		require.Equal(t, v.Code, code(err), v.Name)
	}
	for _, v := range vectors.LoadBackups().Invalid {
		_, err := newSite(t).in("prod", to(t, urlA)).Drill(t.Context(), reading(v.Bytes.Bytes()))
		require.Error(t, err, v.Name)
	}
}

// A root is rewrapped even if it wraps no key and the running process has not opened it.
func TestRewrapIncludesRootsWithoutKeys(t *testing.T) {
	s := newSite(t)
	_, err := s.a().Keyring.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	file := backup(t, s.a())
	s.lose()
	r := s.a()
	pkg := sealWith(t, r, "tenant", classify.PHI)
	_, err = r.Restore(t.Context(), reading(file), nil)
	require.NoError(t, err)
	openAll(t, r, []sealed{pkg}, "")
	done, err := r.Rewrap(t.Context(), to(t, urlB), false)
	require.NoError(t, err)
	require.Equal(t, 2, done.Count)
}

// A dry run of a restore into an empty store changes nothing, and predicts what the restore does with shredded
// tenants.
func TestDryRunPredictsRestoreOfShredded(t *testing.T) {
	s := newSite(t)
	populate(t, s.a(), 2)
	require.NoError(t, s.a().Shred(t.Context(), "tenant-0"))
	file := backup(t, s.a())
	s.lose()
	foretold, err := dry(t, s.a()).Restore(t.Context(), reading(file), nil)
	require.NoError(t, err)
	_, err = s.a().Keyring.SystemDocument(t.Context())
	require.ErrorIs(t, err, keyring.ErrNoTenant)
	restored, err := s.a().Restore(t.Context(), reading(file), nil)
	require.NoError(t, err)
	require.Equal(t, restored.Changes, foretold.Changes)
}
