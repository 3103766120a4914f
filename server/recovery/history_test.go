package recovery_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/recovery"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A model of the store of keysets: what each tenant's keys and roots are, by nothing but the rules of SPEC.md
// section 9.
type (
	modelKey struct {
		root  format.KeyID
		state envelope.State
		made  int // the step
	}
	modelTenant struct {
		keys map[format.KeyID]modelKey
		gone map[format.KeyID]bool // the roots
		made map[format.KeyID]int
	}
	model map[string]*modelTenant
)

func (m model) clone() model {
	c := model{}
	for id, t := range m {
		c[id] = &modelTenant{maps.Clone(t.keys), maps.Clone(t.gone), maps.Clone(t.made)}
	}
	return c
}

func (t *modelTenant) shredUntil(step int) {
	for id, k := range t.keys {
		if k.made <= step {
			k.state = envelope.Destroyed
			t.keys[id] = k
		}
	}
	for id, made := range t.made {
		if made <= step {
			t.gone[id] = true
		}
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
	return len(t.gone) > 0 && !slices.Contains(slices.Collect(maps.Values(t.gone)), false)
}

// merge joins another tenant's keys into these.
func (t *modelTenant) merge(other *modelTenant) {
	for id, k := range other.keys {
		if mine, ok := t.keys[id]; ok {
			k.state = max(k.state, mine.state)
		}
		t.keys[id] = k
	}
	for id, gone := range other.gone {
		t.gone[id], t.made[id] = gone || t.gone[id], other.made[id]
	}
}

// expect is the code with which a package answers.
func (m model) expect(p sealed, key format.KeyID) string {
	t := m[p.tenant]
	if t == nil {
		return "unknown_key"
	}
	k, ok := t.keys[key]
	switch {
	case !ok:
		return "unknown_key"
	case k.state == envelope.Destroyed || t.gone[k.root]:
		return "key_destroyed"
	case k.state == envelope.Disabled:
		return "key_unusable"
	}
	return ""
}

// history is a random life of a site beside its model.
type history struct {
	*site
	random    *rand.Rand
	model     model
	kek       string // URL of the configured one
	r         *recovery.Recovery
	packages  []sealed
	keys      []format.KeyID // of the packages
	backups   []copied
	shredded  map[string]int // when last
	destroyed map[string]map[format.KeyID]bool
	step      int
}

type copied struct {
	file  []byte
	model model
	kek   string
	since map[string]int64 // the tenants that were shredded, and when
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

// TestHistories holds random histories of rotations, rollbacks, destructions, shreddings, rewraps, losses,
// backups and restores to the model:
// what must open opens, and what must not answers with the right error.
func TestHistories(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("COFFER_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	for i := range uint64(histories(t)) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Logf("COFFER_SEED=%d COFFER_HISTORIES=1", seed+i)
			h := &history{site: newSite(t), random: rand.New(rand.NewPCG(seed+i, 0)), model: model{}, kek: urlA, shredded: map[string]int{}, destroyed: map[string]map[format.KeyID]bool{}}
			h.reopen()
			for range 40 {
				h.step++
				time.Sleep(2 * time.Millisecond) // what is made is in order by the millisecond
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

// observe takes over what the store has of a tenant that the model lacks: ids cannot be foretold.
func (h *history) observe(id string) *modelTenant {
	d, err := h.r.Ring.Document(h.t.Context(), id)
	require.NoError(h.t, err)
	t := h.model[id]
	if t == nil {
		t = &modelTenant{map[format.KeyID]modelKey{}, map[format.KeyID]bool{}, map[format.KeyID]int{}}
		h.model[id] = t
	}
	for _, s := range d.Slots {
		if _, ok := t.gone[s.RootID]; !ok {
			t.gone[s.RootID], t.made[s.RootID] = false, h.step
		}
	}
	for _, set := range d.Keysets {
		for _, k := range set.Keys {
			if _, ok := t.keys[k.ID]; !ok {
				t.keys[k.ID] = modelKey{k.RootID, envelope.Enabled, h.step}
			}
		}
	}
	return t
}

func (h *history) seal() {
	id := h.tenant()
	t := h.model[id]
	k, err := h.r.Ring.Tenant(h.t.Context(), id)
	require.NoError(h.t, err)
	key, err := k.Primary(format.UseCache, classify.PHI)
	if t != nil && (t.shredded() || h.model.expect(sealed{tenant: id}, key) == "key_destroyed") {
		require.Equal(h.t, "key_destroyed", code(err))
		return
	}
	if code(err) == "key_unusable" || code(err) == "key_destroyed" { // a merge left a primary that was destroyed or disabled: a rotation makes another
		_, err = k.Rotate(h.t.Context(), format.UseCache, classify.PHI, nil)
		require.NoError(h.t, err)
		key, err = k.Primary(format.UseCache, classify.PHI)
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
	k, err := h.r.Ring.Tenant(h.t.Context(), id)
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
		if err := h.r.Ring.Rollback(h.t.Context(), id, format.UseCache, classify.PHI, to, nil); err != nil {
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
		err := h.r.Ring.Advance(h.t.Context(), id, format.UseCache, classify.PHI, key, to)
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
		require.Contains(h.t, []string{"key_unusable", "invalid_argument"}, code(err))
	}
}

func (h *history) shred() {
	id := h.tenant()
	if h.model[id] == nil || h.random.IntN(2) == 0 {
		return
	}
	require.NoError(h.t, h.r.Shred(h.t.Context(), id))
	h.shredded[id] = h.step
	h.model[id].shredUntil(h.step)
	for i := range h.backups {
		h.backups[i].since[id] = time.Now().UnixMilli()
	}
}

func (h *history) other() string {
	if h.kek == urlA {
		return urlB
	}
	return urlA
}

func (h *history) rewrap() {
	done, err := h.r.Rewrap(h.t.Context(), to(h.t, h.other()))
	require.NoError(h.t, err, "%v", done)
}

func (h *history) move() {
	h.rewrap()
	_, err := h.r.Finish(h.t.Context(), to(h.t, h.other()))
	require.NoError(h.t, err)
	h.kek = h.other()
	h.reopen()
}

func (h *history) backup() {
	if len(h.model) == 0 {
		_, _, err := h.r.Backup(h.t.Context())
		require.ErrorIs(h.t, err, recovery.ErrNoKeys)
		return
	}
	since := map[string]int64{}
	for id := range h.shredded {
		since[id] = 0
	}
	for _, b := range h.backups {
		for id, at := range b.since {
			since[id] = max(since[id], at)
		}
	}
	h.backups = append(h.backups, copied{backup(h.t, h.r), h.model.clone(), h.kek, since})
}

func (h *history) restore() {
	if len(h.backups) == 0 {
		return
	}
	b := h.backups[h.random.IntN(len(h.backups))]
	r, endings := h.r, &recovery.Endings{Tenants: b.since, Keys: h.destroyed}
	if b.kek != h.kek {
		_, err := h.r.Restore(h.t.Context(), b.file, endings, false)
		require.ErrorIs(h.t, err, kms.ErrWrongKey)
		r = h.under(to(h.t, b.kek))
	}
	_, err := r.Restore(h.t.Context(), b.file, endings, false)
	require.NoError(h.t, err)
	if r != h.r { // and what came back goes where all the rest is
		_, err := r.Rewrap(h.t.Context(), to(h.t, h.kek))
		require.NoError(h.t, err)
		_, err = r.Finish(h.t.Context(), to(h.t, h.kek))
		require.NoError(h.t, err)
		h.reopen()
	}
	for id, t := range b.model.clone() {
		if at, ok := h.shredded[id]; ok {
			t.shredUntil(at)
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

// check compares what a fresh process and the one that did it all open with the model.
func (h *history) check() {
	fresh := h.under(to(h.t, h.kek))
	defer fresh.Ring.Close()
	for i, p := range h.packages {
		want := h.model.expect(p, h.keys[i])
		require.Equal(h.t, want, code(p.open(fresh)), "%s under %x", p.tenant, h.keys[i][:4])
		require.Equal(h.t, want, code(p.open(h.r)), "%s under %x", p.tenant, h.keys[i][:4])
		if h.model[p.tenant] == nil {
			h.observe(p.tenant) // to look began it anew
		}
	}
}
