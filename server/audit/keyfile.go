package audit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/codes"
)

var (
	// ErrKey means that a file is not the file of a key.
	ErrKey = &codes.Error{Of: "malformed", Text: "not the file of an audit log's key in version 1"}
	// ErrKeyGone means that a log exists and its key is missing.
	ErrKeyGone = &codes.Error{Of: "authentication_failed", Text: "the audit log's key is missing: restore it, or move the log away, keep it, and begin a new one by coffer audit begin"}
	// ErrKeyFull reports a key that is under as many KEKs as its file may name.
	ErrKeyFull = &codes.Error{Of: "too_large", Text: "the audit log's key is under 8 KEKs already: finish the rewrap to one of them by coffer keys rewrap --finish"}
	// ErrNoSlot means that the key is wrapped by other KEKs only.
	ErrNoSlot = &codes.Error{Of: "wrong_secret", Text: "the audit log's key is not under the configured KEK: configure the one that it is " +
		"under, or run coffer keys rewrap in this data directory with that one"}
)

const (
	keyFormat   = "coffer audit key"
	keyVersion  = 1
	maxKeyFile  = 64 << 10
	keyBoundTo  = "coffer/v1 audit key" // the additional data of its wrapping
	maxKeySlots = 8
)

// keyFile is the file of a key: its secret, wrapped by one KEK or, while they change, by several.
type keyFile struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Slots   []keySlot `json:"slots"` // one KEK may have several: all passphrases have one URL
}

type keySlot struct {
	KEK     string `json:"kek"` // its URL
	Wrapped []byte `json:"wrapped"`
}

// OpenKey is ReadKey, but makes a random key if neither the key nor its log is there. The log of the key PATH.key is
// in the directory PATH. It returns ErrKeyGone if there is a log.
func OpenKey(ctx context.Context, path string, kek kms.KEK) (*Key, error) {
	key, err := ReadKey(ctx, path, kek)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	used, err := InUse(strings.TrimSuffix(path, ".key"))
	if err == nil && !used {
		err = createKey(ctx, path, kek)
	}
	if err != nil {
		return nil, err
	}
	if key, err = ReadKey(ctx, path, kek); used && errors.Is(err, fs.ErrNotExist) { // or another process just made both
		err = fmt.Errorf("audit: %s: %w", path, ErrKeyGone)
	}
	return key, err
}

// ReadKey reads a key's file and unwraps the key by the KEK. It returns ErrKey, ErrNoSlot and the KEK's errors.
func ReadKey(ctx context.Context, path string, kek kms.KEK) (*Key, error) {
	file, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	secret, err := file.unwrap(ctx, kek)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	return newKey(secret)
}

// createKey makes the file, unless another process just did.
func createKey(ctx context.Context, path string, kek kms.KEK) error {
	secret := make([]byte, keySize)
	defer clear(secret)
	_, _ = rand.Read(secret) // never fails: package crypto/rand
	file := &keyFile{Format: keyFormat, Version: keyVersion}
	if err := file.wrap(ctx, kek, secret); err != nil {
		return err
	}
	if err := durable.Create(path, file.marshal()); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("audit: make the key: %w", err)
	}
	return nil
}

func readKeyFile(path string) (*keyFile, error) {
	content, err := readRegular(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	var file keyFile
	if len(content) > maxKeyFile || json.Unmarshal(content, &file) != nil || file.Format != keyFormat || file.Version != keyVersion ||
		len(file.Slots) == 0 || len(file.Slots) > maxKeySlots {
		return nil, fmt.Errorf("audit: %s: %w", path, ErrKey)
	}
	return &file, nil
}

func (f *keyFile) marshal() []byte {
	text, _ := json.Marshal(f) // cannot fail: texts only
	return append(text, '\n')
}

// wrap adds a slot of the KEK and removes those that it unwraps.
func (f *keyFile) wrap(ctx context.Context, kek kms.KEK, secret []byte) error {
	wrapped, err := kek.Wrap(ctx, secret, []byte(keyBoundTo))
	if err != nil {
		return fmt.Errorf("audit: wrap the key: %w", err)
	}
	f.Slots = slices.DeleteFunc(f.Slots, func(s keySlot) bool { return s.opens(ctx, kek) })
	if len(f.Slots) >= maxKeySlots {
		return ErrKeyFull
	}
	f.Slots = append(f.Slots, keySlot{kek.URL(), wrapped})
	return nil
}

// unwrap returns the secret of the first slot that the KEK unwraps, or the last error.
func (f *keyFile) unwrap(ctx context.Context, kek kms.KEK) (secret []byte, err error) {
	err = ErrNoSlot
	for _, s := range f.Slots {
		if s.KEK != kek.URL() {
			continue
		}
		if secret, err = s.unwrap(ctx, kek); err == nil {
			return secret, nil
		}
	}
	return nil, fmt.Errorf("audit: unwrap the key: %w", err)
}

func (s *keySlot) unwrap(ctx context.Context, kek kms.KEK) ([]byte, error) {
	secret, err := kek.Unwrap(ctx, s.Wrapped, []byte(keyBoundTo))
	if err == nil && len(secret) != keySize {
		err = ErrKey
	}
	return secret, err
}

func (s *keySlot) opens(ctx context.Context, kek kms.KEK) bool {
	if s.KEK != kek.URL() {
		return false
	}
	secret, err := s.unwrap(ctx, kek)
	clear(secret)
	return err == nil
}

// RewrapKey wraps the key by another KEK too, or by a new version of the same. Either opens it from then on. A file
// that is not there needs nothing.
func RewrapKey(ctx context.Context, path string, from, to kms.KEK) error {
	return changeKey(path, func(file *keyFile) error {
		secret, err := file.unwrap(ctx, from)
		if err != nil {
			return err
		}
		defer clear(secret)
		return file.wrap(ctx, to, secret)
	})
}

// RetireKey removes the slots that a KEK does not unwrap. It returns ErrNoSlot if it unwraps none.
func RetireKey(ctx context.Context, path string, to kms.KEK) error {
	return changeKey(path, func(file *keyFile) error {
		file.Slots = slices.DeleteFunc(file.Slots, func(s keySlot) bool { return !s.opens(ctx, to) })
		if len(file.Slots) == 0 {
			return ErrNoSlot
		}
		return nil
	})
}

func changeKey(path string, change func(*keyFile) error) error {
	unlock, err := durable.Lock(path + ".lock")
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	defer unlock()
	file, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := change(file); err != nil {
		return err
	}
	if err := durable.Replace(path, file.marshal()); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}
