package seal

import (
	"context"
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

// droppableKeys is one key for every use and class, with drop notifications.
type droppableKeys struct {
	key      *secret.Key
	mu       sync.Mutex
	hooks    map[int]func()
	onDerive func() // if not nil, called while a cipher is derived
}

func newDroppableKeys() *droppableKeys {
	return &droppableKeys{key: secret.New(), hooks: map[int]func(){}}
}

func (d *droppableKeys) Owner() string       { return "tenant" }
func (d *droppableKeys) Environment() string { return "test" }

func (d *droppableKeys) Primary(_ context.Context, _ format.Use, _ classify.Class) (format.KeyID, error) {
	return d.key.ID(), nil
}

func (d *droppableKeys) CheckOpen(_ context.Context, _ *format.Header, _ envelope.OpenPolicy) error {
	return nil
}

func (d *droppableKeys) MessageCipher(_ context.Context, _ format.KeyID, salt format.Salt) (cipher.AEAD, error) {
	c, err := d.key.MessageCipher(salt)
	if d.onDerive != nil {
		d.onDerive()
	}
	return c, err
}

func (d *droppableKeys) OnDrop(f func()) (stop func()) {
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

func (d *droppableKeys) drop() {
	for _, f := range d.hooks {
		f()
	}
}

var _ DropNotifier = (*droppableKeys)(nil)

// numCiphers returns the number of ciphers that a sealer has.
func (s *Sealer) numCiphers() (n int) {
	for use := range s.writers {
		for class := range s.writers[use] {
			if s.writers[use][class].Load() != nil {
				n++
			}
		}
	}
	return n + s.ciphers.Len()
}

// When keys are dropped, sealers drop the ciphers of these keys, including those that a concurrent call derives.
func TestSealersDropCiphersWithTheirKeys(t *testing.T) {
	keys := newDroppableKeys()
	other, s := NewSealer(keys), NewSealer(keys)
	request := Request{Use: format.UseCache, Class: classify.PHI, Type: format.Bytes}
	policy := envelope.OpenPolicy{Use: format.UseCache}
	pkg, err := other.Seal(t.Context(), nil, request, []byte("value"))
	require.NoError(t, err)
	use := func() {
		t.Helper()
		_, err := s.Seal(t.Context(), nil, request, []byte("value"))
		require.NoError(t, err)
		_, err = s.Open(t.Context(), nil, pkg, format.Place{}, policy)
		require.NoError(t, err)
	}
	use()
	require.Equal(t, 2, s.numCiphers())
	require.Equal(t, 1, other.numCiphers())
	keys.drop()
	require.Zero(t, s.numCiphers())
	require.Zero(t, other.numCiphers())
	keys.onDerive = keys.drop
	use()
	require.Zero(t, s.numCiphers())
	keys.onDerive = nil
	use()
	require.Equal(t, 2, s.numCiphers())
}

// Keys do not keep unused sealers alive.
func TestUnusedSealersAreUnregistered(t *testing.T) {
	keys := newDroppableKeys()
	NewSealer(keys)
	require.Eventually(t, func() bool {
		runtime.GC()
		keys.mu.Lock()
		defer keys.mu.Unlock()
		return len(keys.hooks) == 0
	}, time.Minute, 10*time.Millisecond)
}

// The details of a value, such as a file name, are cleared before the memory returns to the pool.
func TestPooledBuffersAreCleared(t *testing.T) {
	b := &buffers{memory: make([]byte, 0, 512)}
	h := format.Header{Algorithm: format.AES256GCM, Source: format.FromKeyset, EncryptedAt: 1, Use: format.UseFile, Class: uint8(classify.PHI), Type: format.File}
	require.NoError(t, b.encode(&h, &Request{Use: format.UseFile, Class: classify.PHI, Type: format.File, FileName: "a patient's name"}))
	memory := b.memory[:cap(b.memory)]
	require.Contains(t, string(memory), "a patient's name")
	b.put()
	require.NotContains(t, string(memory), "a patient's name")
}
