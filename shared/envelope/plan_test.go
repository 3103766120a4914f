package envelope_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// planned returns a document with three keysets: cache and phi with keys 1 to 4, one in each state, and primary 5; cache
// and public with key 6; field and phi with key 7.
func planned(t *testing.T) *envelope.Document {
	d := newDocument()
	for b := byte(1); b <= 5; b++ {
		require.NoError(t, d.AddKey(format.UseCache, classify.PHI, newKey(b)))
	}
	require.NoError(t, d.AddKey(format.UseCache, classify.Public, newKey(6)))
	require.NoError(t, d.AddKey(format.UseField, classify.PHI, newKey(7)))
	for b, state := range map[byte]envelope.State{2: envelope.Disabled, 3: envelope.Compromised, 4: envelope.Destroyed} {
		require.NoError(t, d.Advance(format.UseCache, classify.PHI, id(b), state))
	}
	return d
}

func TestCheckOpenAppliesPolicyAndState(t *testing.T) {
	index := envelope.NewIndex(planned(t))
	phi := format.Header{Algorithm: format.AES256GCM, Use: format.UseCache, Source: format.FromKeyset, Class: 5, KeyID: id(1)}
	with := func(change func(h *format.Header)) format.Header {
		h := phi
		change(&h)
		return h
	}
	any := envelope.OpenPolicy{Use: format.UseCache}
	phiOnly := envelope.OpenPolicy{Use: format.UseCache, MinClass: classify.PHI}
	for _, c := range []struct {
		name   string
		header format.Header
		policy envelope.OpenPolicy
		err    error
	}{
		{"enabled key", phi, any, nil},
		{"class equal to the minimum", phi, phiOnly, nil},
		{"primary", with(func(h *format.Header) { h.KeyID = id(5) }), phiOnly, nil},
		{"disabled key", with(func(h *format.Header) { h.KeyID = id(2) }), any, envelope.ErrKeyUnusable},
		{"compromised key", with(func(h *format.Header) { h.KeyID = id(3) }), any, nil},
		{"destroyed key", with(func(h *format.Header) { h.KeyID = id(4) }), any, envelope.ErrKeyDestroyed},
		{"unknown key", with(func(h *format.Header) { h.KeyID = id(99) }), any, envelope.ErrUnknownKey},
		{"package of a passphrase", with(func(h *format.Header) { h.Source = format.FromPassphrase }), any, envelope.ErrUnknownKey},
		{"package of a master key", with(func(h *format.Header) { h.Source = format.FromMasterKey }), any, envelope.ErrUnknownKey},
		{"class lowered", with(func(h *format.Header) { h.Class = 4 }), any, envelope.ErrAuthentication},
		{"class lowered below the minimum", with(func(h *format.Header) { h.Class = 4 }), phiOnly, classify.ErrTooLow},
		{"class raised", with(func(h *format.Header) { h.Class, h.KeyID = 5, id(6) }), any, envelope.ErrAuthentication},
		{"class 0", with(func(h *format.Header) { h.Class = 0 }), any, classify.ErrUnknown},
		{"forged public package under the key of another class", with(func(h *format.Header) { h.Class, h.Algorithm = 1, format.Public }), any,
			envelope.ErrAuthentication},
		{"forged public package, minimum phi", with(func(h *format.Header) { h.Class, h.Algorithm, h.KeyID = 1, format.Public, id(6) }),
			phiOnly, classify.ErrTooLow},
		{"package of another use", with(func(h *format.Header) { h.Use, h.KeyID = format.UseField, id(7) }), any,
			envelope.ErrAuthentication},
		{"key of another use", with(func(h *format.Header) { h.KeyID = id(7) }), any, envelope.ErrAuthentication},
		{"policy of another use", phi, envelope.OpenPolicy{Use: format.UseField}, envelope.ErrAuthentication},
		{"policy without use", phi, envelope.OpenPolicy{}, envelope.ErrAuthentication},
		{"minimum above every class", phi, envelope.OpenPolicy{Use: format.UseCache, MinClass: 6}, classify.ErrTooLow},
	} {
		t.Run(c.name, func(t *testing.T) {
			requireError(t, c.err, index.CheckOpen(&c.header, c.policy))
		})
	}
}

func requireError(t *testing.T, want, got error) {
	t.Helper()
	if want == nil {
		require.NoError(t, got)
		return
	}
	require.ErrorIs(t, got, want)
}

func TestIndexPrimaryReturnsEnabledKey(t *testing.T) {
	d := planned(t)
	index := envelope.NewIndex(d)
	for use := range 256 {
		for class := range 256 {
			got, err := index.Primary(format.Use(use), classify.Class(class))
			s := d.Keyset(format.Use(use), classify.Class(class))
			if s == nil {
				require.ErrorIs(t, err, envelope.ErrKeyUnusable)
				require.Zero(t, got)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, s.Primary(), got)
		}
	}
	require.NoError(t, d.Advance(format.UseField, classify.PHI, id(7), envelope.Compromised))
	_, err := envelope.NewIndex(d).Primary(format.UseField, classify.PHI)
	require.ErrorIs(t, err, envelope.ErrKeyUnusable, "a compromised key must not seal")
	got, err := index.Primary(format.UseField, classify.PHI)
	require.NoError(t, err, "an index must not change with its document")
	require.Equal(t, id(7), got)
}

func TestCheckSecretComparesKeyIDs(t *testing.T) {
	h := format.Header{Use: format.UseService, Source: format.FromMasterKey, Class: 4, KeyID: id(1)}
	for _, c := range []struct {
		name   string
		got    format.KeyID
		policy envelope.OpenPolicy
		err    error
	}{
		{"same key", id(1), envelope.OpenPolicy{Use: format.UseService}, nil},
		{"same key, class equal to the minimum", id(1), envelope.OpenPolicy{Use: format.UseService, MinClass: classify.PII}, nil},
		{"another key", id(2), envelope.OpenPolicy{Use: format.UseService}, envelope.ErrWrongSecret},
		{"another use", id(1), envelope.OpenPolicy{Use: format.UseCache}, envelope.ErrAuthentication},
		{"class too low", id(1), envelope.OpenPolicy{Use: format.UseService, MinClass: classify.PHI}, classify.ErrTooLow},
	} {
		t.Run(c.name, func(t *testing.T) { requireError(t, c.err, envelope.CheckSecret(&h, c.got, c.policy)) })
	}
	none := format.Header{Use: format.UseService, KeyID: id(1)}
	require.ErrorIs(t, envelope.CheckSecret(&none, id(1), envelope.OpenPolicy{Use: format.UseService}), classify.ErrUnknown)
}

func TestCheckDerivationEnforcesBounds(t *testing.T) {
	for _, class := range classify.All {
		for _, n := range []uint32{0, 1, 99_999, 100_000, 150_000, 249_999, 250_000, 600_000, 10_000_000, 10_000_001} {
			h := format.Header{Source: format.FromPassphrase, Class: uint8(class), Iterations: n}
			var want error
			if n < 100_000 || n > 10_000_000 {
				want = classify.ErrIterations
			}
			requireError(t, want, envelope.CheckDerivation(&h))
			for _, source := range []format.Source{format.FromKeyset, format.FromMasterKey} {
				h.Source = source
				require.NoError(t, envelope.CheckDerivation(&h), "only passphrases use PBKDF2")
			}
		}
	}
}

// For every class and every set of flags, the chosen algorithm makes a valid header.
func TestAlgorithmMakesValidHeaders(t *testing.T) {
	for _, class := range classify.All {
		for flags := format.Flags(0); flags < 16; flags++ {
			got := envelope.Algorithm(class, flags)
			require.Equal(t, class == classify.Public && flags == 0, got == format.Public)
			h := format.Header{
				Algorithm: got, Use: format.UseStorage, Flags: flags, Source: format.FromKeyset, Class: uint8(class), Type: format.Bytes,
			}
			require.NoError(t, h.Check())
		}
	}
}

func TestCanOpenDependsOnState(t *testing.T) {
	require.NoError(t, envelope.Enabled.CanOpen())
	require.NoError(t, envelope.Compromised.CanOpen())
	require.ErrorIs(t, envelope.Disabled.CanOpen(), envelope.ErrKeyUnusable)
	require.ErrorIs(t, envelope.Destroyed.CanOpen(), envelope.ErrKeyDestroyed)
	require.ErrorIs(t, envelope.State(0).CanOpen(), envelope.ErrKeyUnusable)
	require.ErrorIs(t, envelope.State(9).CanOpen(), envelope.ErrKeyUnusable)
}

// Records under a root that was not opened have no effect. Otherwise a writer to the store could stop an owner from sealing.
func TestOnlyUnderIgnoresOtherRoots(t *testing.T) {
	d := planned(t)
	own, err := envelope.NewIndex(d).Primary(format.UseCache, classify.PHI)
	require.NoError(t, err)
	foreign := envelope.Root{Line: [16]byte{200}, Generation: 1, ID: format.KeyID{200}}
	require.NoError(t, d.AddSlot(envelope.Slot{
		ID: [16]byte{200}, Kind: envelope.SlotKMS, Root: foreign, URL: "kms://x", Wrapped: make([]byte, 60),
	}))
	require.NoError(t, d.AddKey(format.UseCache, classify.PHI, envelope.Key{
		ID: format.KeyID{201}, State: envelope.Enabled, Root: foreign, Wrapped: make([]byte, envelope.WrappedSize),
	}))
	whole, err := envelope.NewIndex(d).Primary(format.UseCache, classify.PHI)
	require.NoError(t, err)
	require.NotEqual(t, own, whole)
	opened := d.OnlyUnder(func(r envelope.Root) bool { return r != foreign })
	primary, err := envelope.NewIndex(opened).Primary(format.UseCache, classify.PHI)
	require.NoError(t, err)
	require.Equal(t, own, primary)
	require.Nil(t, opened.Keyset(format.UseCache, classify.PHI).Key(format.KeyID{201}))
	require.NotContains(t, opened.Roots(), foreign)
	require.Contains(t, d.Roots(), foreign, "the document itself must not change")
	require.Empty(t, d.OnlyUnder(func(envelope.Root) bool { return false }).Keysets)
}
