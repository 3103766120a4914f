//go:build !js

package main_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// request contains the inputs of planSeal for one package.
type request struct {
	header  format.Header // without key id and algorithm, which planSeal chooses
	place   format.Place
	context map[string]string
	size    int
}

// input returns the input of planSeal: the salt, the place and the context in any order.
func (r *request) input() []byte {
	text := func(b []byte, s string) []byte { return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	b := text(text(r.header.Salt[:], r.place.Owner), r.place.Collection)
	if b = append(b, 0); r.place.Named {
		b[len(b)-1] = 1
		b = text(b, r.place.Name)
	}
	for k, v := range r.context {
		b = text(text(b, k), v)
	}
	return b
}

func (r *request) plan(s *script, handle any) int {
	in, h := r.input(), r.header
	return s.call(in, "planSeal", handle, h.Use, h.Class, h.Type, h.Flags, len(in), h.EncryptedAt, r.size)
}

// native returns the result of planSeal as package format computes it, given the key.
func (r *request) native(single format.Header) ([]byte, error) {
	h := r.header
	h.Algorithm = envelope.Algorithm(classify.Class(h.Class), h.Flags)
	h.Source, h.Iterations, h.KeyID = single.Source, single.Iterations, single.KeyID
	if r.size > format.MaxValue {
		return nil, format.ErrTooLarge
	}
	var err error
	if h.Context, err = format.NewContext(r.context); err != nil {
		return nil, err
	}
	header, err := h.Append(nil)
	if err != nil {
		return nil, err
	}
	return format.AppendAdditionalData(nil, header, r.place)
}

func randomRequest(r *rand.Rand) request {
	text := func(most int) string {
		alphabet := []rune("ab\x00é～😀")
		b := make([]rune, r.IntN(most+1))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	q := request{
		header: format.Header{
			Use: format.Use(1 + r.IntN(format.NumUses)), Class: uint8(1 + r.IntN(5)), Type: format.ValueType(1 + r.IntN(6)),
			EncryptedAt: r.Int64N(format.MaxTime + 1), Salt: format.Salt{byte(r.IntN(3))},
		},
		place:   format.Place{Owner: text(5), Collection: text(5), Named: r.IntN(3) > 0},
		context: map[string]string{}, size: r.IntN(1000),
	}
	if q.place.Named {
		q.place.Name = text(8)
	}
	if r.IntN(4) == 0 {
		q.header.Flags = format.SealedContext
	} else {
		for range r.IntN(6) {
			q.context[text(4)] = text(9)
		}
	}
	return q
}

// spoil makes one field of a request invalid.
func spoil(r *rand.Rand, q *request) {
	long := func(n int) string { return strings.Repeat("x", n+1) }
	switch r.IntN(12) {
	case 0:
		q.header.Type = 7
	case 1:
		q.header.Flags = 4
	case 2:
		q.header.EncryptedAt = format.MaxTime + 1
	case 3:
		q.header.EncryptedAt = -1
	case 4:
		q.size = format.MaxValue + 1
	case 5:
		q.place.Owner = long(format.MaxOwner)
	case 6:
		q.place.Collection = "\xff"
	case 7:
		q.place.Named, q.place.Name = true, long(format.MaxName)
	case 8:
		q.context = map[string]string{"a": "\xed\xa0\x80"}
	case 9:
		q.context = map[string]string{"a": long(format.MaxContext)}
	case 10:
		for i := range format.MaxContextEntries + 1 {
			q.context[fmt.Sprint(i)] = ""
		}
	case 11:
		q.header.Flags, q.context = format.SealedContext, map[string]string{"a": "b"}
	}
}

// planSeal returns the additional data or error that package format returns, for random and for invalid packages.
func TestPlanSealAgreesWithFormat(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	single := format.Header{Source: format.FromPassphrase, Iterations: 600_000, KeyID: format.KeyID{1, 2, 3}}
	var s script
	handle := of{s.call(single.KeyID[:], "openSingle", single.Source, single.Iterations)}
	requests := make([]request, 3000)
	steps := make([]int, len(requests))
	for i := range requests {
		requests[i] = randomRequest(r)
		if r.IntN(4) == 0 {
			spoil(r, &requests[i])
		}
		steps[i] = requests[i].plan(&s, handle)
	}
	answers := s.run(t)
	refused := 0
	for i := range requests {
		got := answers[steps[i]]
		want, err := requests[i].native(single)
		if err != nil {
			require.Equal(t, failure(t, codes.Of(err).Code), got.Result, "%+v", requests[i])
			refused++
			continue
		}
		require.Equal(t, hex.EncodeToString(want), got.Output, "%+v", requests[i])
	}
	require.Greater(t, refused, 400)
	require.Greater(t, len(requests)-refused, 2000)
}

// planOpen returns the additional data of planSeal. It refuses packages of another key or use and those below the minimum
// class.
func TestPlanOpenAgreesWithPlanSeal(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	single := format.Header{Source: format.FromMasterKey, KeyID: format.KeyID{9}}
	other := format.KeyID{8}
	var s script
	mine := of{s.call(single.KeyID[:], "openSingle", single.Source, 0)}
	another := of{s.call(other[:], "openSingle", single.Source, 0)}
	type want struct {
		step   int
		output string
		result int
	}
	var wants []want
	for range 500 {
		q := randomRequest(r)
		data, err := q.native(single)
		require.NoError(t, err)
		in := data[2:] // the header and the place, without the header's length
		open := func(handle of, use, least, body any) int {
			return s.call(in, "planOpen", handle, use, least, len(in), body)
		}
		use, class := q.header.Use, q.header.Class
		wants = append(wants,
			want{step: open(mine, use, class, 100), output: hex.EncodeToString(data), result: len(data)},
			want{step: open(mine, use, 0, 28), output: hex.EncodeToString(data), result: len(data)},
			want{step: open(mine, use, class+1, 100), result: failure(t, "class_too_low")},
			want{step: open(mine, use%format.NumUses+1, 0, 100), result: failure(t, "authentication_failed")},
			want{step: open(mine, int(use)+256, 0, 100), result: failure(t, "authentication_failed")}, // not truncated to 8 bits
			want{step: open(mine, use, 256, 100), result: failure(t, "class_too_low")},                // not truncated either
			want{step: open(another, use, 0, 100), result: failure(t, "wrong_secret")},
			want{step: open(mine, use, 0, 27), result: failure(t, "malformed")},
			want{step: open(mine, use, 0, "NaN"), result: failure(t, "malformed")},
			want{step: open(mine, use, 0, "-Infinity"), result: failure(t, "malformed")},
			want{step: open(mine, use, 0, 1e300), result: failure(t, "too_large")},
			want{step: s.call(append(in, 0), "planOpen", mine, use, 0, len(in)+1, 100), result: failure(t, "invalid_argument")},
		)
	}
	answers := s.run(t)
	for i, w := range wants {
		require.Equal(t, w.result, answers[w.step].Result, "%d", i%12)
		require.Equal(t, w.output, answers[w.step].Output)
	}
}

func TestPlanSealRefusesInvalidNumbers(t *testing.T) {
	var s script
	handle := of{s.call(make([]byte, 32), "openSingle", 3, 0)}
	in := (&request{place: format.Place{Owner: "o"}}).input()
	invalid := failure(t, "invalid_argument")
	for i, args := range [][]any{
		{handle, 1, 5, 1, 0, len(in), 1, 1}, // valid arguments
		{handle, 1, 5, 1, 0, len(in), "NaN", 1},
		{handle, 1, 5, 1, 0, len(in), -1, 1},
		{handle, 1, 5, 1, 0, len(in), "Infinity", 1},
		{handle, 1, 5, 1, 0, len(in), 1, "NaN"},
		{handle, 1, 5, 1, 0, len(in), 1, -1},
		{handle, 257, 5, 1, 0, len(in), 1, 1},
		{handle, 1, 261, 1, 0, len(in), 1, 1},
		{handle, 1, 5, 257, 0, len(in), 1, 1},
		{handle, 1, 5, 1, 256, len(in), 1, 1},
		{handle, -255, 5, 1, 0, len(in), 1, 1},
	} {
		step := s.call(in, "planSeal", args...)
		require.Equal(t, i+1, step)
	}
	for i, got := range s.run(t)[1:] {
		if i == 0 {
			require.Positive(t, got.Result)
			continue
		}
		require.Equal(t, invalid, got.Result, "%d", i)
	}
}

func TestPlanSealRefusesDuplicateContextKeys(t *testing.T) {
	var s script
	handle := of{s.call(make([]byte, 32), "openSingle", 3, 0)}
	q := request{place: format.Place{Owner: "o"}, context: map[string]string{"a": "b"}}
	once := q.input()
	twice := append(once, once[len(once)-6:]...)
	first := s.call(once, "planSeal", handle, 1, 5, 1, 0, len(once), 1, 1)
	second := s.call(twice, "planSeal", handle, 1, 5, 1, 0, len(twice), 1, 1)
	answers := s.run(t)
	require.Positive(t, answers[first].Result)
	require.Equal(t, failure(t, "invalid_argument"), answers[second].Result)
}

func TestPlanSealRequiresNewSaltAtLimit(t *testing.T) {
	var s script
	handle := of{s.call(make([]byte, 32), "openSingle", 3, 0)}
	const times = format.MaxBytesPerSalt / format.MaxValue
	big := request{place: format.Place{Owner: "o"}, header: format.Header{Use: 1, Class: 5, Type: 1}, size: format.MaxValue}
	last := big.plan(&s, handle)
	s.repeat(times)
	small := big
	small.size = 1
	over := small.plan(&s, handle)
	small.header.Class = 4
	otherClass := small.plan(&s, handle) // one key, so both share a budget
	small.header.Salt = format.Salt{1}
	fresh := small.plan(&s, handle)
	answers := s.run(t)
	require.Positive(t, answers[last].Result, "%d packages of the largest size", times)
	require.Equal(t, saltSpent, answers[over].Result)
	require.Equal(t, saltSpent, answers[otherClass].Result)
	require.Positive(t, answers[fresh].Result, "a new salt has its own budget")
}
