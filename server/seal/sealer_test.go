package seal_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

var home = format.Place{Owner: "tenant", Collection: "cache", Name: "patient:1", Named: true}

func request(class classify.Class) seal.Request {
	return seal.Request{Use: format.UseCache, Class: class, Type: format.Bytes, Place: home}
}

var cachePolicy = envelope.OpenPolicy{Use: format.UseCache}

func contextOf(t testing.TB, m map[string]string) format.Context {
	c, err := format.NewContext(m)
	require.NoError(t, err)
	return c
}

// Every class and value type opens to the same value and details, and only public values are readable in the package.
func TestOpenReturnsTheSealedValue(t *testing.T) {
	s := seal.NewSealer(newKeys(t, "tenant"))
	value := []byte(`"a planted value, readable as text and as JSON"`)
	for _, class := range classify.All {
		for kind := format.Text; kind <= format.View; kind++ {
			for _, flags := range []format.Flags{0, format.SealedContext, format.SealedContext | format.Padded | format.SealedName} {
				r := request(class)
				r.Type, r.Flags, r.Context, r.Revision = kind, flags, contextOf(t, map[string]string{"patient": "planted patient"}), 7
				if flags&format.SealedName != 0 {
					r.Name = "planted name"
				}
				if kind == format.View {
					r.Element = format.ElementInt8
				}
				if kind == format.Blob || kind == format.File {
					r.MediaType = "image/png"
				}
				if kind == format.File {
					r.FileName, r.LastModified = "planted scan é.png", -1
				}
				before := time.Now().UnixMilli()
				pkg, err := s.Seal(t.Context(), []byte("prefix"), r, value)
				require.NoError(t, err)
				require.Equal(t, "prefix", string(pkg[:6]))
				pkg = pkg[6:]
				o, err := s.Open(t.Context(), []byte("prefix"), pkg, home, cachePolicy)
				require.NoError(t, err)
				require.Equal(t, value, o.Value)
				require.Equal(t, map[string]string{"patient": "planted patient"}, o.Context().Map())
				require.Equal(t, r.MediaType+r.FileName, o.Details.MediaType+o.Details.FileName)
				require.Equal(t, r.LastModified, o.Details.LastModified)
				require.Equal(t, r.Name, o.Details.Name)
				require.Equal(t, r.Element, o.Details.Element)
				require.NotContains(t, string(pkg), "planted name")
				if flags&format.Padded != 0 {
					require.Equal(t, format.PaddedSize(1), len(pkg)-format.HeaderSize-format.NonceSize-format.TagSize)
				}
				require.Equal(t, []any{uint8(class), kind, uint64(7)}, []any{o.Header.Class, o.Header.Type, o.Header.Revision})
				require.GreaterOrEqual(t, o.Header.EncryptedAt, before)
				hidden := class != classify.Public || flags != 0
				require.Equal(t, hidden, !bytes.Contains(pkg, value))
				require.Equal(t, flags != 0, !bytes.Contains(pkg, []byte("planted patient")))
				if hidden && r.FileName != "" {
					require.NotContains(t, string(pkg), "planted scan")
				}
			}
		}
	}
}

// The result is in the caller's buffer if that is large enough, and otherwise in new memory.
func TestResultIsInTheGivenBuffer(t *testing.T) {
	s := seal.NewSealer(newKeys(t, "tenant"))
	for _, class := range []classify.Class{classify.Public, classify.PHI} {
		for _, size := range []int{0, 1, 100, 5000, 200_000} {
			value := bytes.Repeat([]byte{7}, size)
			dst := make([]byte, 4, size+1000)
			pkg, err := s.Seal(t.Context(), dst, request(class), value)
			require.NoError(t, err)
			require.Same(t, &dst[:1][0], &pkg[:1][0])
			o, err := s.Open(t.Context(), dst[:0:0], pkg[4:], home, cachePolicy)
			require.NoError(t, err)
			require.True(t, bytes.Equal(value, o.Value))
			dst = make([]byte, 3, size+1000)
			o, err = s.Open(t.Context(), dst, pkg[4:], home, cachePolicy)
			require.NoError(t, err)
			require.True(t, bytes.Equal(value, o.Value))
			if size > 0 {
				require.Same(t, &dst[:4][3], &o.Value[0])
			}
		}
	}
}

func TestSealRefusesInvalidRequests(t *testing.T) {
	s := seal.NewSealer(newKeys(t, "tenant"))
	long := make([]byte, format.MaxName+1)
	for name, c := range map[string]struct {
		change func(r *seal.Request)
		value  []byte
		err    error
	}{
		"no class":        {func(r *seal.Request) { r.Class = 0 }, nil, classify.ErrUnknown},
		"unknown class":   {func(r *seal.Request) { r.Class = 6 }, nil, classify.ErrUnknown},
		"no use":          {func(r *seal.Request) { r.Use = 0 }, nil, format.ErrInvalid},
		"unknown use":     {func(r *seal.Request) { r.Use = 6 }, nil, format.ErrInvalid},
		"no type":         {func(r *seal.Request) { r.Type = 0 }, nil, format.ErrInvalid},
		"too large":       {func(*seal.Request) {}, make([]byte, format.MaxValue+1), format.ErrTooLarge},
		"name too long":   {func(r *seal.Request) { r.Place.Name = string(long) }, nil, format.ErrTooLarge},
		"name not UTF-8":  {func(r *seal.Request) { r.Place.Name = "\xff" }, nil, format.ErrInvalid},
		"text not UTF-8":  {func(r *seal.Request) { r.Type = format.Text }, []byte("\xff"), format.ErrInvalid},
		"JSON not UTF-8":  {func(r *seal.Request) { r.Type = format.JSON }, []byte("\"\xff\""), format.ErrInvalid},
		"misplaced type":  {func(r *seal.Request) { r.MediaType = "image/png" }, nil, format.ErrInvalid},
		"misplaced name":  {func(r *seal.Request) { r.Type, r.FileName = format.Blob, "x" }, nil, format.ErrInvalid},
		"long media type": {func(r *seal.Request) { r.Type, r.MediaType = format.Blob, string(long) }, nil, format.ErrTooLarge},
		"sealed name without a place": {func(r *seal.Request) {
			r.Flags, r.Place = format.SealedName, format.Place{Owner: "tenant"}
		}, nil, format.ErrInvalid},
		"name without its flag":   {func(r *seal.Request) { r.Name = "x" }, nil, format.ErrInvalid},
		"sealed name too long":    {func(r *seal.Request) { r.Flags, r.Name = format.SealedName, string(long) }, nil, format.ErrTooLarge},
		"view without an element": {func(r *seal.Request) { r.Type = format.View }, nil, format.ErrInvalid},
		"half an element":         {func(r *seal.Request) { r.Type, r.Element = format.View, format.ElementInt32 }, []byte("123"), format.ErrInvalid},
		"element without a view":  {func(r *seal.Request) { r.Element = format.ElementInt32 }, nil, format.ErrInvalid},
		"revision":                {func(r *seal.Request) { r.Revision = format.MaxRevision + 1 }, nil, format.ErrInvalid},
		"tombstone":               {func(r *seal.Request) { r.Flags = format.Tombstone }, []byte("x"), format.ErrInvalid},
	} {
		r := request(classify.PHI)
		c.change(&r)
		pkg, err := s.Seal(t.Context(), nil, r, c.value)
		require.ErrorIs(t, err, c.err, name)
		require.Nil(t, pkg, name)
	}
}

// A value of the largest size seals and opens. A longer package is refused.
func TestLargestValueOpens(t *testing.T) {
	s := seal.NewSealer(newKeys(t, "tenant"))
	value := make([]byte, format.MaxValue)
	value[len(value)-1] = 1
	pkg, err := s.Seal(t.Context(), nil, request(classify.PHI), value)
	require.NoError(t, err)
	o, err := s.Open(t.Context(), nil, pkg, home, cachePolicy)
	require.NoError(t, err)
	require.True(t, bytes.Equal(value, o.Value))
	_, err = s.Open(t.Context(), nil, append(pkg, make([]byte, format.MaxContext+4096)...), home, cachePolicy)
	require.ErrorIs(t, err, format.ErrTooLarge)
}

// A call allocates its result, and nothing if the given buffer is large enough.
func TestAllocationsPerCall(t *testing.T) {
	s := seal.NewSealer(newKeys(t, "tenant"))
	value := make([]byte, 1024)
	r := request(classify.PHI)
	pkg, err := s.Seal(t.Context(), nil, r, value)
	require.NoError(t, err)
	buffer := make([]byte, 0, 4096)
	for name, c := range map[string]struct {
		f   func() error
		max float64
	}{
		"seal":               {func() error { _, err := s.Seal(t.Context(), nil, r, value); return err }, 1},
		"open":               {func() error { _, err := s.Open(t.Context(), nil, pkg, home, cachePolicy); return err }, 1},
		"seal into a buffer": {func() error { _, err := s.Seal(t.Context(), buffer, r, value); return err }, 0},
		"open into a buffer": {func() error { _, err := s.Open(t.Context(), buffer, pkg, home, cachePolicy); return err }, 0},
	} {
		got := testing.AllocsPerRun(200, func() { require.NoError(t, c.f()) })
		require.LessOrEqual(t, got, c.max+0.1, name) // the garbage collector empties the pool at times
	}
}

// A sealer reuses its salt until the primary changes, and no two sealers have the same salt.
func TestSaltChangesWithSealerAndPrimary(t *testing.T) {
	k := newKeys(t, "tenant")
	a, b := seal.NewSealer(k), seal.NewSealer(k)
	headerOf := func(s *seal.Sealer) format.Header {
		pkg, err := s.Seal(t.Context(), nil, request(classify.PHI), nil)
		require.NoError(t, err)
		h, _, err := format.ParseHeader(pkg)
		require.NoError(t, err)
		return h
	}
	first := headerOf(a)
	require.NotEqual(t, format.Salt{}, first.Salt)
	require.Equal(t, first.Salt, headerOf(a).Salt)
	require.NotEqual(t, first.Salt, headerOf(b).Salt)
	id := k.rotate(t, format.UseCache, classify.PHI)
	rotated := headerOf(a)
	require.Equal(t, id, rotated.KeyID)
	require.NotEqual(t, first.Salt, rotated.Salt)
}

// Sealers derive a message key once, whether they write with it or read the packages of another sealer. The key of a
// forged package is not cached.
func TestMessageKeysAreCached(t *testing.T) {
	k := newKeys(t, "tenant")
	writer, reader := seal.NewSealer(k), seal.NewSealer(k)
	pkg, err := writer.Seal(t.Context(), nil, request(classify.PHI), []byte("value"))
	require.NoError(t, err)
	for range 10 {
		_, err = writer.Seal(t.Context(), nil, request(classify.PHI), nil)
		require.NoError(t, err)
		_, err = writer.Open(t.Context(), nil, pkg, home, cachePolicy)
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, k.derived.Load())
	altered := bytes.Clone(pkg)
	altered[len(altered)-1] ^= 1
	for range 3 {
		_, err = reader.Open(t.Context(), nil, altered, home, cachePolicy)
		require.ErrorIs(t, err, envelope.ErrAuthentication)
	}
	require.EqualValues(t, 4, k.derived.Load(), "the key of a forged package is not cached")
	for range 3 {
		_, err = reader.Open(t.Context(), nil, pkg, home, cachePolicy)
		require.NoError(t, err)
	}
	require.EqualValues(t, 5, k.derived.Load())
}

// The state of a key is checked for every package, even if its cipher is cached.
func TestKeyStateIsCheckedForCachedCiphers(t *testing.T) {
	k := newKeys(t, "tenant")
	s := seal.NewSealer(k)
	pkg, err := s.Seal(t.Context(), nil, request(classify.PHI), []byte("value"))
	require.NoError(t, err)
	old, err := k.Primary(t.Context(), format.UseCache, classify.PHI)
	require.NoError(t, err)
	k.rotate(t, format.UseCache, classify.PHI)
	for _, step := range []struct {
		state envelope.State
		err   error
	}{{envelope.Enabled, nil}, {envelope.Compromised, nil}, {envelope.Disabled, envelope.ErrKeyUnusable}, {envelope.Destroyed, envelope.ErrKeyDestroyed}} {
		k.advance(t, format.UseCache, classify.PHI, old, step.state)
		_, err := s.Open(t.Context(), nil, pkg, home, cachePolicy)
		require.ErrorIs(t, err, step.err)
	}
	primary := k.rotate(t, format.UseCache, classify.PHI)
	k.advance(t, format.UseCache, classify.PHI, primary, envelope.Compromised)
	_, err = s.Seal(t.Context(), nil, request(classify.PHI), nil)
	require.ErrorIs(t, err, envelope.ErrKeyUnusable)
}

func TestConcurrentSealAndOpen(t *testing.T) {
	k := newKeys(t, "tenant")
	s, other := seal.NewSealer(k), seal.NewSealer(k)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				value := fmt.Append(nil, g, i)
				pkg, err := s.Seal(t.Context(), nil, request(classify.All[i%5]), value)
				if err != nil {
					t.Error(err)
					return
				}
				for _, reader := range []*seal.Sealer{s, other} {
					if o, err := reader.Open(t.Context(), nil, pkg, home, cachePolicy); err != nil || !bytes.Equal(value, o.Value) {
						t.Errorf("%q: %v", o.Value, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}
