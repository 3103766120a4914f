package seal

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
)

// Encrypt encrypts bytes to a package in the binary form. The context is authenticated and readable by
// anyone. Errors are Sealer.Seal's.
func (s *Service) Encrypt(data []byte, class classify.Class, context map[string]string) ([]byte, error) {
	return s.seal(format.Bytes, data, class, context)
}

// Decrypt opens a package in the binary form, of any value type. Errors are Sealer.Open's.
func (s *Service) Decrypt(pkg []byte, options ...ReadOption) (Opened, error) {
	return s.sealer.Open(nil, pkg, format.Place{}, NewOpenPolicy(format.UseService, options...))
}

// EncryptJSON encrypts text, which must be UTF-8, to a package in the JSON form, as EncryptionService.encrypt
// does in the browser. Errors are Sealer.Seal's.
func (s *Service) EncryptJSON(plaintext string, class classify.Class, context map[string]string) ([]byte, error) {
	pkg, err := s.seal(format.Text, []byte(plaintext), class, context)
	if err != nil {
		return nil, err
	}
	p, err := format.Parse(pkg)
	if err != nil {
		return nil, err
	}
	return jsonform.Marshal(p)
}

// DecryptJSON opens a package in the JSON form, of any value type. Errors are Sealer.Open's.
func (s *Service) DecryptJSON(text []byte, options ...ReadOption) (Opened, error) {
	p, err := jsonform.Unmarshal(text)
	if err != nil {
		return Opened{}, err
	}
	return s.open(p, options)
}

func (s *Service) seal(t format.ValueType, value []byte, class classify.Class, context map[string]string) ([]byte, error) {
	c, err := format.NewContext(context)
	if err != nil {
		return nil, err
	}
	return s.sealer.Seal(nil, Request{Use: format.UseService, Class: class, Type: t, Context: c}, value)
}

func (s *Service) open(p format.Package, options []ReadOption) (Opened, error) {
	pkg, err := p.Append(nil)
	if err != nil {
		return Opened{}, err
	}
	return s.Decrypt(pkg, options...)
}

func (s *Service) split(t format.ValueType, value []byte, class classify.Class, context map[string]string) ([]byte, Metadata, error) {
	pkg, err := s.seal(t, value, class, context)
	if err != nil {
		return nil, Metadata{}, err
	}
	p, err := format.Parse(pkg)
	if err != nil {
		return nil, Metadata{}, err
	}
	return jsonform.Split(p)
}

func (s *Service) join(ciphertext []byte, m Metadata, options []ReadOption) (Opened, error) {
	p, err := jsonform.Join(ciphertext, m)
	if err != nil {
		return Opened{}, err
	}
	return s.open(p, options)
}
