package seal

import (
	"encoding/base64"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
)

// ErrNotText says that a package holds something other than text.
var ErrNotText = &codes.Error{Of: "invalid_argument", Text: "the package does not hold text: use DecryptData"}

// Metadata is what must be kept beside a ciphertext to decrypt it: all of a package but the ciphertext. It is
// not secret, it is authenticated, and encoding/json writes it as the "metadata" of the format's JSON form
// (SPEC.md section 7).
type Metadata = jsonform.Metadata

// Service encrypts single values for a program that stores them itself: as ciphertext and metadata, or as
// whole packages in the binary or the JSON form. It is safe for concurrent use; make one and share it. Its
// packages are not bound to a place, so any of them opens in place of another: check the context of what was
// opened, or seal with Sealer.
type Service struct{ sealer *Sealer }

// The errors of secrets that cannot be used, both with the code invalid_argument.
var (
	// ErrMasterKey reports a master key that is not 32 bytes or their standard base64.
	ErrMasterKey = secret.ErrMasterKey
	// ErrPassphrase reports a passphrase that is empty, is not valid UTF-8 or contains U+0000.
	ErrPassphrase = secret.ErrPassword
)

// ParseMasterKey decodes a master key from padded standard base64 (44 characters), as "openssl rand -base64 32" writes it. It returns
// ErrMasterKey for any other text.
func ParseMasterKey(text string) ([]byte, error) { return secret.ParseMasterKey(text) }

// NewService returns a service with one key, which is derived from a master key of exactly 32 random bytes. It returns ErrMasterKey for
// any other length. It does not keep masterKey, which the caller may clear.
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

// WithIterations sets the number of PBKDF2 iterations for new packages. The default is classify.MinWriteIterations. A smaller number is raised
// to it, with a warning in slog's default log.
func WithIterations(n uint32) PassphraseOption {
	return func(o *passphraseOptions) { o.iterations = n }
}

// NewPassphraseService returns a service whose keys are derived from a passphrase by PBKDF2-HMAC-SHA256: one key for each salt, which takes
// about 0.2 s the first time. It returns ErrPassphrase, and classify.ErrIterations if the iterations are above classify.MaxIterations.
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

// NewKeysetService makes a service that uses an owner's keys of the use service.
func NewKeysetService(keys Keys) *Service { return &Service{NewSealer(keys)} }

// Sealer returns the underlying sealer, for packages of other uses, types and places.
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

// EncryptString encrypts text, which must be UTF-8, to base64 and metadata. The context is authenticated and
// readable by anyone. Errors are Sealer.Seal's.
func (s *Service) EncryptString(plaintext string, class classify.Class, context map[string]string) (string, Metadata, error) {
	ciphertext, m, err := s.split(format.Text, []byte(plaintext), class, context)
	if err != nil {
		return "", Metadata{}, err
	}
	return base64.StdEncoding.EncodeToString(ciphertext), m, nil
}

// DecryptString is the inverse of EncryptString. Errors are Sealer.Open's, ErrNotText, and
// format.ErrMalformed for text that is not UTF-8.
func (s *Service) DecryptString(ciphertext string, m Metadata, options ...ReadOption) (string, error) {
	if len(ciphertext) > base64.StdEncoding.EncodedLen(format.MaxValue+format.MaxContext) {
		return "", format.ErrTooLarge
	}
	b, err := jsonform.DecodeBase64([]byte(ciphertext))
	if err != nil {
		return "", err
	}
	o, err := s.join(b, m, options)
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

// EncryptData encrypts bytes to a ciphertext, 16 bytes longer, and metadata. The context is authenticated and
// readable by anyone. Errors are Sealer.Seal's.
func (s *Service) EncryptData(data []byte, class classify.Class, context map[string]string) ([]byte, Metadata, error) {
	return s.split(format.Bytes, data, class, context)
}

// DecryptData is the inverse of EncryptData, and gives the bytes of any other value. Errors are Sealer.Open's.
func (s *Service) DecryptData(ciphertext []byte, m Metadata, options ...ReadOption) ([]byte, error) {
	o, err := s.join(ciphertext, m, options)
	return o.Value, err
}
