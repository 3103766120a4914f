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

// Option changes what NewService makes.
type Option func(*serviceOptions)

type serviceOptions struct{ iterations uint32 }

// WithIterations sets the PBKDF2 iterations of what is written under a passphrase. Fewer than
// classify.MinWriteIterations are raised to it, with a warning in the log.
func WithIterations(n uint32) Option { return func(o *serviceOptions) { o.iterations = n } }

// NewService makes a service whose one key comes from a master key: 32 random bytes in standard base64, or
// else a passphrase, which the first call with a new salt stretches for about 0.2 s. It returns
// secret.ErrPassword for an empty one and classify.ErrIterations above classify.MaxIterations.
func NewService(key string, options ...Option) (*Service, error) {
	o := serviceOptions{iterations: classify.MinWriteIterations}
	for _, option := range options {
		option(&o)
	}
	if random, ok := secret.ParseMasterKey(key); ok {
		return &Service{newSealer(newMasterKey(random))}, nil
	}
	password, err := secret.NewPassword(key)
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
