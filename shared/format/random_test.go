package format_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

// newRandom returns a random generator and logs its seed. To repeat a failed run, set COFFER_SEED to that seed.
func newRandom(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("COFFER_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("COFFER_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// randomText returns a text of up to maxRunes characters from a small alphabet, so that equal texts and shared prefixes are
// frequent.
func randomText(r *rand.Rand, maxRunes int) string {
	alphabet := []rune("aab\x00é～😀")
	text := make([]rune, r.IntN(maxRunes+1))
	for i := range text {
		text[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(text)
}

func randomMap(r *rand.Rand, maxEntries int) map[string]string {
	m := map[string]string{}
	for range r.IntN(maxEntries + 1) {
		m[randomText(r, 6)] = randomText(r, 12)
	}
	return m
}

func randomContext(t *testing.T, r *rand.Rand, maxEntries int) format.Context {
	c, err := format.NewContext(randomMap(r, maxEntries))
	require.NoError(t, err)
	return c
}

// randomHeader returns a random header that Check accepts, with any algorithm, use, flags, source, class and type.
func randomHeader(t *testing.T, r *rand.Rand) format.Header {
	h := format.Header{
		Algorithm:   format.Algorithm(1 + r.IntN(3)),
		Use:         format.Use(1 + r.IntN(format.NumUses)),
		Flags:       format.Flags(r.IntN(16)),
		Source:      format.Source(1 + r.IntN(3)),
		Class:       uint8(1 + r.IntN(5)),
		Type:        format.ValueType(1 + r.IntN(7)),
		EncryptedAt: r.Int64N(format.MaxTime + 1),
		Revision:    r.Uint64N(format.MaxRevision + 1),
	}
	for i := range h.KeyID {
		h.KeyID[i] = byte(r.Uint32())
	}
	for i := range h.Salt {
		h.Salt[i] = byte(r.Uint32())
	}
	if h.Algorithm == format.Public {
		h.Class, h.Flags = 1, 0
	}
	if h.Flags&format.Tombstone != 0 {
		h.Algorithm, h.Type = format.AES256GCM, format.Bytes
	}
	if h.Source == format.FromPassphrase {
		h.Iterations = 1 + r.Uint32N(1<<32-1)
	}
	if h.Flags&format.SealedContext == 0 {
		h.Context = randomContext(t, r, 4)
	}
	require.NoError(t, h.Check())
	return h
}

func randomPlace(r *rand.Rand) format.Place {
	p := format.Place{Owner: randomText(r, 3), Collection: randomText(r, 3), Named: r.IntN(3) > 0}
	if p.Named {
		p.Name = randomText(r, 3)
	}
	return p
}

func encode(t *testing.T, h format.Header) []byte {
	b, err := h.Append(nil)
	require.NoError(t, err)
	return b
}

// plainHeader returns a simple valid header, for tests that change one field.
func plainHeader() format.Header {
	return format.Header{
		Algorithm: format.AES256GCM, Use: format.UseStorage, Source: format.FromKeyset, Class: 3, Type: format.Text,
	}
}
