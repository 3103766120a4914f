package seal

import (
	"crypto/cipher"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// dropping is a key that can be dropped.
type dropping struct {
	key    *secret.Key
	mu     sync.Mutex
	hooks  map[int]func()
	during func() // called while a cipher is derived
}

func newDropping() *dropping { return &dropping{key: secret.New(), hooks: map[int]func(){}} }

func (d *dropping) Owner() string       { return "tenant" }
func (d *dropping) Environment() string { return "test" }

func (d *dropping) Primary(format.Use, classify.Class) (format.KeyID, error) {
	return d.key.ID(), nil
}

func (d *dropping) CheckOpen(*format.Header, envelope.OpenPolicy) error { return nil }

func (d *dropping) MessageCipher(_ format.KeyID, salt format.Salt) (cipher.AEAD, error) {
	c, err := d.key.MessageCipher(salt)
	if d.during != nil {
		d.during()
	}
	return c, err
}

func (d *dropping) OnDrop(f func()) (stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.hooks)
	d.hooks[n] = f
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.hooks, n)
	}
}

func (d *dropping) drop() {
	for _, f := range d.hooks {
		f()
	}
}

var _ Dropper = (*dropping)(nil)

// kept returns how many ciphers a sealer keeps.
func (s *Sealer) kept() (n int) {
	for use := range s.writers {
		for class := range s.writers[use] {
			if s.writers[use][class].Load() != nil {
				n++
			}
		}
	}
	return n + s.ciphers.Len()
}

// A sealer keeps no cipher of keys that were dropped, also of calls that were under way.
func TestDroppedKeysLeaveNoCiphers(t *testing.T) {
	keys := newDropping()
	other, s := NewSealer(keys), NewSealer(keys)
	request := Request{Use: format.UseCache, Class: classify.PHI, Type: format.Bytes}
	policy := envelope.OpenPolicy{Use: format.UseCache}
	pkg, err := other.Seal(nil, request, []byte("value"))
	require.NoError(t, err)
	use := func() {
		t.Helper()
		_, err := s.Seal(nil, request, []byte("value"))
		require.NoError(t, err)
		_, err = s.Open(nil, pkg, format.Place{}, policy)
		require.NoError(t, err)
	}
	use()
	require.Equal(t, 2, s.kept())
	require.Equal(t, 1, other.kept())
	keys.drop()
	require.Zero(t, s.kept())
	require.Zero(t, other.kept())
	keys.during = keys.drop
	use()
	require.Zero(t, s.kept())
	keys.during = nil
	use()
	require.Equal(t, 2, s.kept())
}

// Keys do not keep sealers that are not in use any more.
func TestSealersAreForgotten(t *testing.T) {
	keys := newDropping()
	NewSealer(keys)
	require.Eventually(t, func() bool {
		runtime.GC()
		keys.mu.Lock()
		defer keys.mu.Unlock()
		return len(keys.hooks) == 0
	}, time.Minute, 10*time.Millisecond)
}

// Details of a value (its context, its file's name) do not stay in the memory that calls share.
func TestScratchIsCleared(t *testing.T) {
	b := &scratch{room: make([]byte, 0, 512)}
	h := format.Header{Algorithm: format.AES256GCM, Source: format.FromKeyset, EncryptedAt: 1, Use: format.UseFile, Class: uint8(classify.PHI), Type: format.File}
	require.NoError(t, b.plan(&h, &Request{Use: format.UseFile, Class: classify.PHI, Type: format.File, FileName: "a patient's name"}))
	room := b.room[:cap(b.room)]
	require.Contains(t, string(room), "a patient's name")
	b.put()
	require.NotContains(t, string(room), "a patient's name")
}
