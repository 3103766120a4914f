package recovery_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A model of the keystore: the keys and lines of each tenant, derived only from the rules of shared/envelope/SPEC.md.
type (
	line     = [envelope.LineSize]byte
	modelKey struct {
		line  line
		state envelope.State
	}
	modelTenant struct {
		keys  map[format.KeyID]modelKey
		lines map[line]bool // whether it was shredded
	}
	model map[string]*modelTenant
)

func (m model) clone() model {
	c := model{}
	for id, t := range m {
		c[id] = &modelTenant{maps.Clone(t.keys), maps.Clone(t.lines)}
	}
	return c
}

func (t *modelTenant) shred(lines map[line]bool) {
	for line := range t.lines {
		t.lines[line] = t.lines[line] || lines[line]
	}
}

func (t *modelTenant) destroy(keys map[format.KeyID]bool) {
	for id, k := range t.keys {
		if keys[id] {
			k.state = envelope.Destroyed
			t.keys[id] = k
		}
	}
}

func (t *modelTenant) shredded() bool {
	return len(t.lines) > 0 && !slices.Contains(slices.Collect(maps.Values(t.lines)), false)
}

// merge merges another tenant's keys into these.
func (t *modelTenant) merge(other *modelTenant) {
	for id, k := range other.keys {
		if mine, ok := t.keys[id]; ok {
			k.state = max(k.state, mine.state)
		}
		t.keys[id] = k
	}
	for line, shredded := range other.lines {
		t.lines[line] = t.lines[line] || shredded
	}
}

// expect returns the error code of opening a package, empty for success.
func (m model) expect(p sealed, key format.KeyID) string {
	t := m[p.tenant]
	if t == nil {
		return "unknown_key"
	}
	if t.shredded() {
		return "key_destroyed"
	}
	k, ok := t.keys[key]
	switch {
	case !ok || t.lines[k.line]:
		return "unknown_key"
	case k.state == envelope.Destroyed:
		return "key_destroyed"
	case k.state == envelope.Disabled:
		return "key_unusable"
	}
	return ""
}

// history is a random sequence of operations on a site, with its model.
type history struct {
	*site
	random    *rand.Rand
	model     model
	kek       string // URL of the configured one
	r         *recovery.Recovery
	packages  []sealed
	keys      []format.KeyID // of the packages
	backups   []copied
	shredded  map[string]map[line]bool // according to the audit log
	destroyed map[string]map[format.KeyID]bool
	step      int
}

type copied struct {
	file  []byte
	model model
	kek   string
}

func histories(t *testing.T) int {
	text := os.Getenv("COFFER_HISTORIES")
	if text == "" {
		return 6
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// Random sequences of rotations, rollbacks, destructions, shreddings, rewraps, losses, backups and restores match the
// model: packages open, or fail with the right error.
func TestRandomHistoriesMatchTheModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("COFFER_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	for i := range uint64(histories(t)) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Logf("COFFER_SEED=%d COFFER_HISTORIES=1", seed+i)
			h := &history{site: newSite(t), random: rand.New(rand.NewPCG(seed+i, 0)), model: model{}, kek: urlA, shredded: map[string]map[line]bool{}, destroyed: map[string]map[format.KeyID]bool{}}
			h.reopen()
			for range 40 {
				h.step++
				time.Sleep(2 * time.Millisecond) // creation times are in milliseconds, and have to differ
				h.one()
				if h.random.IntN(3) == 0 {
					h.check()
				}
			}
			h.check()
		})
	}
}

func (h *history) reopen() { h.r = h.under(to(h.t, h.kek)) }

func (h *history) tenant() string { return fmt.Sprint("tenant-", h.random.IntN(4)) }

func (h *history) one() {
	steps := []func(){
		h.seal, h.seal, h.seal, h.rotate, h.rotate, h.rollback, h.retire, h.retire, h.shred, h.rewrap, h.move, h.backup, h.backup, h.restore, h.restore, h.loss,
	}
	steps[h.random.IntN(len(steps))]()
}

// observe copies the keys of a tenant from the store to the model, which cannot predict their ids.
func (h *history) observe(id string) *modelTenant {
	d, err := h.r.Keyring.Document(h.t.Context(), id)
	require.NoError(h.t, err)
	t := h.model[id]
	if t == nil {
		t = &modelTenant{map[format.KeyID]modelKey{}, map[line]bool{}}
		h.model[id] = t
	}
	for _, line := range d.Lines() {
		t.lines[line] = false
	}
	for _, set := range d.Keysets {
		for _, k := range set.Keys {
			if _, ok := t.keys[k.ID]; !ok {
				t.keys[k.ID] = modelKey{k.Root.Line, envelope.Enabled}
			}
		}
	}
	return t
}

func (h *history) seal() {
	id := h.tenant()
	t := h.model[id]
	k, err := h.r.Keyring.Tenant(h.t.Context(), id)
	require.NoError(h.t, err)
	key, err := k.Primary(context.Background(), format.UseCache, classify.PHI)
	if t != nil && (t.shredded() || h.model.expect(sealed{tenant: id}, key) == "key_destroyed") {
		require.Equal(h.t, "key_destroyed", code(err))
		return
	}
	if code(err) == "key_unusable" || code(err) == "key_destroyed" { // a merge left a primary that was destroyed or disabled: a rotation makes another
		_, err = k.Rotate(h.t.Context(), format.UseCache, classify.PHI, nil)
		require.NoError(h.t, err)
		key, err = k.Primary(context.Background(), format.UseCache, classify.PHI)
	}
	require.NoError(h.t, err)
	h.packages, h.keys = append(h.packages, sealWith(h.t, h.r, id, classify.PHI)), append(h.keys, key)
	h.observe(id)
}

func (h *history) rotate() {
	id := h.tenant()
	if t := h.model[id]; t == nil || t.shredded() {
		return
	}
	k, err := h.r.Keyring.Tenant(h.t.Context(), id)
	require.NoError(h.t, err)
	_, err = k.Rotate(h.t.Context(), format.UseCache, classify.PHI, nil)
	require.NoError(h.t, err)
	h.observe(id)
}

func (h *history) rollback() {
	id := h.tenant()
	t := h.model[id]
	if t == nil {
		return
	}
	for to := range t.keys {
		promote := func(e *keyring.Edit) error { return e.Promote(format.UseCache, classify.PHI, to) }
		if err := h.r.Keyring.Edit(h.t.Context(), id, promote); err != nil {
			require.Contains(h.t, []string{"key_unusable", "unknown_key", "key_destroyed"}, code(err))
		}
		return
	}
}

// retire disables or destroys a key that is not the primary.
func (h *history) retire() {
	id := h.tenant()
	t := h.model[id]
	if t == nil {
		return
	}
	to := []envelope.State{envelope.Disabled, envelope.Destroyed}[h.random.IntN(2)]
	for key, k := range t.keys {
		err := h.r.Keyring.Advance(h.t.Context(), id, format.UseCache, classify.PHI, key, to)
		if err == nil {
			k.state = to
			t.keys[key] = k
			if to == envelope.Destroyed {
				if h.destroyed[id] == nil {
					h.destroyed[id] = map[format.KeyID]bool{}
				}
				h.destroyed[id][key] = true
			}
			return
		}
		require.Contains(h.t, []string{"key_unusable", "invalid_argument", "key_destroyed", "unknown_key"}, code(err))
	}
}

func (h *history) shred() {
	id := h.tenant()
	if h.model[id] == nil || h.random.IntN(2) == 0 {
		return
	}
	require.NoError(h.t, h.r.Shred(h.t.Context(), id))
	if h.shredded[id] == nil {
		h.shredded[id] = map[line]bool{}
	}
	for line := range h.model[id].lines {
		h.model[id].lines[line], h.shredded[id][line] = true, true
	}
}

func (h *history) other() string {
	if h.kek == urlA {
		return urlB
	}
	return urlA
}

func (h *history) rewrap() {
	done, err := h.r.Rewrap(h.t.Context(), to(h.t, h.other()), false)
	require.NoError(h.t, err, "%v", done)
}

func (h *history) move() {
	h.rewrap()
	_, err := h.r.FinishRewrap(h.t.Context(), to(h.t, h.other()))
	require.NoError(h.t, err)
	h.kek = h.other()
	h.reopen()
}

func (h *history) backup() {
	if len(h.model) == 0 {
		_, err := h.r.Backup(h.t.Context(), into(io.Discard))
		require.ErrorIs(h.t, err, recovery.ErrNoKeys)
		return
	}
	h.backups = append(h.backups, copied{backup(h.t, h.r), h.model.clone(), h.kek})
}

func (h *history) restore() {
	if len(h.backups) == 0 {
		return
	}
	b := h.backups[h.random.IntN(len(h.backups))]
	r, endings := h.r, &recovery.Tombstones{IDs: map[recovery.ID]bool{}}
	for id, lines := range h.shredded {
		for line := range lines {
			endings.IDs[recovery.ID{Tenant: id, Hex: hex.EncodeToString(line[:])}] = true
		}
	}
	for id, keys := range h.destroyed {
		for key := range keys {
			endings.IDs[recovery.ID{Tenant: id, Hex: hex.EncodeToString(key[:])}] = true
		}
	}
	if b.kek != h.kek {
		_, err := h.r.Restore(h.t.Context(), reading(b.file), endings)
		require.ErrorIs(h.t, err, kms.ErrWrongKey)
		r = h.under(to(h.t, b.kek).WithFormer(openKEK(h.t, h.kek)))
	}
	_, err := r.Restore(h.t.Context(), reading(b.file), endings)
	require.NoError(h.t, err)
	if r != h.r { // rewrap the restored roots to the present KEK
		_, err := r.Rewrap(h.t.Context(), to(h.t, h.kek), false)
		require.NoError(h.t, err)
		_, err = r.FinishRewrap(h.t.Context(), to(h.t, h.kek))
		require.NoError(h.t, err)
		h.reopen()
	}
	for id, t := range b.model.clone() {
		t.shred(h.shredded[id])
		if now := h.model[id]; now != nil && now.shredded() { // as a whole: nothing of the backup comes back
			for line := range t.lines {
				t.lines[line] = true
			}
		}
		t.destroy(h.destroyed[id])
		if h.model[id] == nil {
			h.model[id] = t
		} else {
			h.model[id].merge(t)
		}
	}
}

func (h *history) loss() {
	if h.random.IntN(2) == 0 {
		return
	}
	h.lose()
	h.model = model{}
	h.reopen()
}

// check compares the model with a new process and with the process that ran all operations: the same packages open in
// each.
func (h *history) check() {
	fresh := h.under(to(h.t, h.kek))
	defer fresh.Keyring.Close()
	for i, p := range h.packages {
		want := h.model.expect(p, h.keys[i])
		require.Equal(h.t, want, code(p.open(fresh)), "%s under %x", p.tenant, h.keys[i][:4])
		require.Equal(h.t, want, code(p.open(h.r)), "%s under %x", p.tenant, h.keys[i][:4])
		if h.model[p.tenant] == nil {
			h.observe(p.tenant) // opening the package created the tenant again
		}
	}
}
