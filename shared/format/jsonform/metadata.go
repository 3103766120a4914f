package jsonform

import (
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// version is the format's version in the JSON form.
const version = "1.0"

// timeLayout is RFC 3339 in UTC with milliseconds, as JavaScript's toISOString writes it.
const timeLayout = "2006-01-02T15:04:05.000Z"

// Metadata is the member "metadata" of the JSON form: a package's header and nonce. Its fields contain the members
// unchecked; Header checks them.
type Metadata struct {
	Version        string            `json:"version"`
	Algorithm      string            `json:"algorithm"`
	KeyID          string            `json:"keyId"`        // 64 lower-case hexadecimal digits
	IV             string            `json:"iv,omitempty"` // base64 of the nonce; empty for chunked packages
	Salt           string            `json:"salt"`         // base64
	Classification string            `json:"classification"`
	EncryptedAt    string            `json:"encryptedAt"` // RFC 3339, UTC, three digits of fraction
	Context        map[string]string `json:"context"`
	Use            string            `json:"use"`
	ValueType      string            `json:"valueType"`
	KeySource      string            `json:"keySource"`
	Revision       uint64            `json:"revision"`
	Iterations     uint32            `json:"iterations,omitempty"` // 0 unless KeySource is "passphrase"
	Tombstone      bool              `json:"tombstone,omitempty"`
	SealedContext  bool              `json:"sealedContext,omitempty"`
	Padded         bool              `json:"padded,omitempty"`
	SealedName     bool              `json:"sealedName,omitempty"`
}

// newMetadata returns the metadata of a package with header h, which must be valid. The nonce is empty for format.Chunked.
func newMetadata(h *format.Header, nonce []byte) Metadata {
	context := h.Context.Map()
	if context == nil {
		context = map[string]string{}
	}
	return Metadata{
		Version:        version,
		Algorithm:      h.Algorithm.String(),
		KeyID:          hex.EncodeToString(h.KeyID[:]),
		IV:             base64.StdEncoding.EncodeToString(nonce),
		Salt:           base64.StdEncoding.EncodeToString(h.Salt[:]),
		Classification: classify.Class(h.Class).String(),
		EncryptedAt:    time.UnixMilli(h.EncryptedAt).UTC().Format(timeLayout),
		Context:        context,
		Use:            h.Use.String(),
		ValueType:      h.Type.String(),
		KeySource:      h.Source.String(),
		Revision:       h.Revision,
		Iterations:     h.Iterations,
		Tombstone:      h.Flags&format.Tombstone != 0,
		SealedContext:  h.Flags&format.SealedContext != 0,
		Padded:         h.Flags&format.Padded != 0,
		SealedName:     h.Flags&format.SealedName != 0,
	}
}

// Header returns the header and the nonce. It returns format.ErrUnsupportedVersion for a version other than "1.0", and
// format.ErrMalformed for metadata that no package may have.
func (m *Metadata) Header() (h format.Header, nonce []byte, err error) {
	if m.Version != version {
		if m.Version == "" {
			return format.Header{}, nil, format.ErrMalformed
		}
		return format.Header{}, nil, format.ErrUnsupportedVersion
	}
	ok := m.readEnums(&h) && m.readBytes(&h) && m.readScalars(&h)
	if ok {
		nonce, err = DecodeBase64([]byte(m.IV))
	}
	if !ok || err != nil || len(nonce) != nonceSize(h.Algorithm) || h.Check() != nil {
		return format.Header{}, nil, format.ErrMalformed
	}
	return h, nonce, nil
}

// readEnums parses the members that name one of a few values.
func (m *Metadata) readEnums(h *format.Header) bool {
	var errs [5]error
	var class classify.Class
	h.Algorithm, errs[0] = format.ParseAlgorithm(m.Algorithm)
	h.Use, errs[1] = format.ParseUse(m.Use)
	h.Source, errs[2] = format.ParseSource(m.KeySource)
	h.Type, errs[3] = format.ParseValueType(m.ValueType)
	class, errs[4] = classify.Parse(m.Classification)
	h.Class = uint8(class)
	return errs == [5]error{}
}

// readBytes decodes the members that encode bytes.
func (m *Metadata) readBytes(h *format.Header) bool {
	salt, err := DecodeBase64([]byte(m.Salt))
	if err != nil || len(salt) != format.SaltSize {
		return false
	}
	copy(h.Salt[:], salt)
	id, err := hex.DecodeString(m.KeyID)
	if err != nil || len(id) != format.KeyIDSize {
		return false
	}
	copy(h.KeyID[:], id)
	return hex.EncodeToString(id) == m.KeyID // refuses upper case
}

// readScalars parses the time, the numbers, the flags and the context.
func (m *Metadata) readScalars(h *format.Header) bool {
	at, err := time.Parse(timeLayout, m.EncryptedAt)
	if err != nil || at.Format(timeLayout) != m.EncryptedAt {
		return false
	}
	h.EncryptedAt, h.Revision, h.Iterations = at.UnixMilli(), m.Revision, m.Iterations
	for flag, set := range map[format.Flags]bool{
		format.Tombstone: m.Tombstone, format.SealedContext: m.SealedContext, format.Padded: m.Padded, format.SealedName: m.SealedName,
	} {
		if set {
			h.Flags |= flag
		}
	}
	h.Context, err = format.NewContext(m.Context)
	return err == nil
}

// UnmarshalJSON decodes the member "metadata" of a JSON form as strictly as Unmarshal. It returns
// format.ErrUnsupportedVersion for another version, and format.ErrMalformed for other texts that are not metadata.
func (m *Metadata) UnmarshalJSON(text []byte) error {
	if !wellFormed(text) {
		return format.ErrMalformed
	}
	return m.read(text)
}

var metadataNames = []string{
	"version", "algorithm", "keyId", "iv", "salt", "classification", "encryptedAt", "context", "use", "valueType", "keySource",
	"revision", "iterations", "tombstone", "sealedContext", "padded", "sealedName",
}

// read decodes well-formed JSON. An unsupported version takes precedence over other faults, because another version may
// have other members.
func (m *Metadata) read(text []byte) error {
	values, others, ok := collect(text, metadataNames...)
	if !ok {
		return format.ErrMalformed
	}
	r := memberReader{values: values, failed: others}
	*m = Metadata{
		Algorithm: r.text("algorithm"), KeyID: r.text("keyId"), Salt: r.text("salt"), Classification: r.text("classification"),
		EncryptedAt: r.text("encryptedAt"), Use: r.text("use"), ValueType: r.text("valueType"), KeySource: r.text("keySource"),
		Context: r.context("context"), Revision: r.integer("revision", 0, format.MaxRevision),
		Tombstone: r.flag("tombstone"), SealedContext: r.flag("sealedContext"),
		Padded: r.flag("padded"), SealedName: r.flag("sealedName"),
	}
	if r.has("iv") {
		m.IV = r.text("iv")
		r.failed = r.failed || m.IV == ""
	}
	if r.has("iterations") {
		m.Iterations = uint32(r.integer("iterations", 1, 1<<32-1))
	}
	text, ok = unquote(values["version"])
	m.Version = string(text)
	switch {
	case !ok:
		return format.ErrMalformed
	case m.Version != version:
		return format.ErrUnsupportedVersion
	case r.failed:
		return format.ErrMalformed
	}
	return nil
}
