package seal

import (
	"context"
	"encoding/base64"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
)

// ErrNotText reports that a package contains a value that is not text.
var ErrNotText = &codes.Error{ErrorCode: "invalid_argument", Message: "the package does not contain text: use DecryptData"}

// Metadata is everything in a package except the ciphertext. A program stores it with the ciphertext, since decryption
// needs both. It is authenticated, but not secret. Package encoding/json encodes it as the "metadata" of the JSON form
// (SPEC.md section 7).
type Metadata = jsonform.Metadata

// Service encrypts single values for a program that stores them itself: as ciphertext and metadata, or as whole
// packages in the binary or the JSON form. It is safe for concurrent use. It caches keys, so a program makes one and
// reuses it.
//
// A service with the keys of a tenant waits if these must be unlocked, which may call a KMS, until ctx ends; see
// Sealer.
//
// The packages of a service are not bound to a place: a package that is swapped for another one of the same service
// opens. To detect that, put the identity of the value in its context and compare it after decryption, or use a Sealer.
type Service struct{ sealer *Sealer }

// The errors of secrets that cannot be used, both with the code invalid_argument.
var (
	// ErrMasterKey reports a master key that is not 32 bytes or their standard base64.
	ErrMasterKey = secret.ErrMasterKey
	// ErrPassphrase reports a passphrase that is empty, is not valid UTF-8 or contains U+0000.
	ErrPassphrase = secret.ErrPassword
)

// ParseMasterKey decodes a master key from padded standard base64 (44 characters), as "openssl rand -base64 32" writes
// it. It returns ErrMasterKey for any other text.
func ParseMasterKey(text string) ([]byte, error) { return secret.ParseMasterKey(text) }

// NewService returns a service with one key, which is derived from a master key of exactly 32 random bytes. It returns
// ErrMasterKey for any other length. It does not keep masterKey, which the caller may clear.
func NewService(masterKey []byte) (*Service, error) {
	key, err := secret.FromMasterKey(masterKey)
	if err != nil {
		return nil, err
	}
	return &Service{newSealer(newMasterKey(key))}, nil
}

// PassphraseOption is an option of NewPassphraseService.
type PassphraseOption func(*passphraseOptions)

type passphraseOptions struct{ iterations uint32 }

// WithIterations sets the number of PBKDF2 iterations for new packages. The default is classify.MinWriteIterations. A
// smaller number is raised to it, with a warning in slog's default log.
func WithIterations(n uint32) PassphraseOption {
	return func(o *passphraseOptions) { o.iterations = n }
}

// NewPassphraseService returns a service whose keys are derived from a passphrase by PBKDF2-HMAC-SHA256: one key for
// each salt, which takes about 0.2 s the first time. It returns ErrPassphrase, and classify.ErrIterations if the
// iterations are above classify.MaxIterations.
func NewPassphraseService(passphrase string, options ...PassphraseOption) (*Service, error) {
	o := passphraseOptions{iterations: classify.MinWriteIterations}
	for _, option := range options {
		option(&o)
	}
	password, err := secret.NewPassword(passphrase)
	if err != nil {
		return nil, err
	}
	iterations, err := secret.Iterations(o.iterations)
	if err != nil {
		return nil, err
	}
	return &Service{newSealer(newPassphrase(password, iterations))}, nil
}

// NewKeysetService returns a service with the data keys of an owner for the use format.UseService.
func NewKeysetService(keys Keys) *Service { return &Service{NewSealer(keys)} }

// Sealer returns the underlying sealer, for other uses, types and places.
func (s *Service) Sealer() *Sealer { return s.sealer }

// ReadOption is an option of a call that opens a package.
type ReadOption struct{ minClass classify.Class }

// MinClass makes a call return classify.ErrTooLow for a package whose class is lower than c.
func MinClass(c classify.Class) ReadOption { return ReadOption{minClass: c} }

// NewOpenPolicy returns the policy for packages of a use with the options applied. The highest MinClass counts.
func NewOpenPolicy(use format.Use, options ...ReadOption) envelope.OpenPolicy {
	policy := envelope.OpenPolicy{Use: use}
	for _, o := range options {
		policy.MinClass = max(policy.MinClass, o.minClass)
	}
	return policy
}

// EncryptString encrypts text, which must be UTF-8, and returns the ciphertext in base64 and the metadata. The context
// is authenticated, but not encrypted. It returns the errors of Sealer.Seal.
func (s *Service) EncryptString(ctx context.Context, plaintext string, class classify.Class, context map[string]string) (string, Metadata, error) {
	ciphertext, m, err := s.sealSplit(ctx, format.Text, []byte(plaintext), class, context)
	if err != nil {
		return "", Metadata{}, err
	}
	return base64.StdEncoding.EncodeToString(ciphertext), m, nil
}

// DecryptString decrypts the result of EncryptString. It returns the errors of Sealer.Open, ErrNotText, and
// format.ErrMalformed if the text is not UTF-8.
func (s *Service) DecryptString(ctx context.Context, ciphertext string, m Metadata, options ...ReadOption) (string, error) {
	if len(ciphertext) > base64.StdEncoding.EncodedLen(format.MaxValue+format.MaxContext) {
		return "", format.ErrTooLarge
	}
	b, err := jsonform.DecodeBase64([]byte(ciphertext))
	if err != nil {
		return "", err
	}
	o, err := s.openJoined(ctx, b, m, options)
	if err != nil {
		return "", err
	}
	if o.Header.Type != format.Text && o.Header.Type != format.JSON {
		return "", ErrNotText
	}
	if !utf8.Valid(o.Value) {
		return "", format.ErrMalformed
	}
	return string(o.Value), nil
}

// EncryptData encrypts bytes and returns the ciphertext, which is 16 bytes longer, and the metadata. The context is
// authenticated, but not encrypted. It returns the errors of Sealer.Seal.
func (s *Service) EncryptData(ctx context.Context, data []byte, class classify.Class, context map[string]string) ([]byte, Metadata, error) {
	return s.sealSplit(ctx, format.Bytes, data, class, context)
}

// DecryptData decrypts the result of EncryptData, or a value of any other type to its bytes. It returns the errors of
// Sealer.Open.
func (s *Service) DecryptData(ctx context.Context, ciphertext []byte, m Metadata, options ...ReadOption) ([]byte, error) {
	o, err := s.openJoined(ctx, ciphertext, m, options)
	return o.Value, err
}

// Encrypt encrypts bytes and returns a package in the binary form. The context is authenticated, but not encrypted. It
// returns the errors of Sealer.Seal.
func (s *Service) Encrypt(ctx context.Context, data []byte, class classify.Class, context map[string]string) ([]byte, error) {
	pkg, _, err := s.seal(ctx, format.Bytes, data, class, context)
	return pkg, err
}

// Decrypt decrypts a package in the binary form, with a value of any type. It returns the errors of Sealer.Open.
func (s *Service) Decrypt(ctx context.Context, pkg []byte, options ...ReadOption) (Opened, error) {
	return s.sealer.Open(ctx, nil, pkg, format.Place{}, NewOpenPolicy(format.UseService, options...))
}

// EncryptJSON encrypts text, which must be UTF-8, and returns a package in the JSON form, like
// EncryptionService.encrypt in the browser. It returns the errors of Sealer.Seal.
func (s *Service) EncryptJSON(ctx context.Context, plaintext string, class classify.Class, context map[string]string) ([]byte, error) {
	pkg, h, err := s.seal(ctx, format.Text, []byte(plaintext), class, context)
	if err != nil {
		return nil, err
	}
	return jsonform.Marshal(format.Package{Header: h, Body: pkg[h.Size():]})
}

// DecryptJSON decrypts a package in the JSON form, with a value of any type. It returns the errors of Sealer.Open.
func (s *Service) DecryptJSON(ctx context.Context, text []byte, options ...ReadOption) (Opened, error) {
	p, err := jsonform.Unmarshal(text)
	if err != nil {
		return Opened{}, err
	}
	return s.openParsed(ctx, p, options)
}

func (s *Service) seal(ctx context.Context, t format.ValueType, value []byte, class classify.Class, context map[string]string) ([]byte, format.Header, error) {
	c, err := format.NewContext(context)
	if err != nil {
		return nil, format.Header{}, err
	}
	return s.sealer.SealWithHeader(ctx, nil, Request{Use: format.UseService, Class: class, Type: t, Context: c}, value)
}

func (s *Service) openParsed(ctx context.Context, p format.Package, options []ReadOption) (Opened, error) {
	pkg, err := p.Append(nil)
	if err != nil {
		return Opened{}, err
	}
	return s.Decrypt(ctx, pkg, options...)
}

func (s *Service) sealSplit(ctx context.Context, t format.ValueType, value []byte, class classify.Class, context map[string]string) ([]byte, Metadata, error) {
	pkg, h, err := s.seal(ctx, t, value, class, context)
	if err != nil {
		return nil, Metadata{}, err
	}
	return jsonform.Split(format.Package{Header: h, Body: pkg[h.Size():]})
}

func (s *Service) openJoined(ctx context.Context, ciphertext []byte, m Metadata, options []ReadOption) (Opened, error) {
	p, err := jsonform.Join(ciphertext, m)
	if err != nil {
		return Opened{}, err
	}
	return s.openParsed(ctx, p, options)
}
