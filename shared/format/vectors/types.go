package vectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"github.com/coffer-storage/coffer/shared/format"
)

// Hex is a byte string that the files write as hexadecimal digits.
type Hex []byte

// MarshalText implements encoding.TextMarshaler.
func (h Hex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// Data is a byte string of any length. It is Hex alone, Hex followed by Runs, or Hex followed by copies of Repeat up to
// Length bytes in total. If SHA256 is set, only the digest and Length of the bytes are known.
type Data struct {
	Hex    Hex   `json:"hex"`
	Runs   []Run `json:"runs,omitempty"`
	Repeat Hex   `json:"repeat,omitempty"`
	Length int   `json:"length,omitempty"`
	SHA256 Hex   `json:"sha256,omitempty"`
}

// Run is Hex once, or Count copies of Hex. If At is not 0, the two bytes at offset At of each copy are its number, counted
// from 0.
type Run struct {
	Hex   Hex `json:"hex"`
	Count int `json:"count,omitempty"`
	At    int `json:"at,omitempty"`
}

func (r Run) append(b []byte) []byte {
	for n := range max(r.Count, 1) {
		b = append(b, r.Hex...)
		if r.At > 0 {
			binary.BigEndian.PutUint16(b[len(b)-len(r.Hex)+r.At:], uint16(n))
		}
	}
	return b
}

// Bytes returns the bytes, or nil if only their digest is known.
func (d Data) Bytes() []byte {
	if d.SHA256 != nil {
		return nil
	}
	if d.Repeat == nil {
		b := bytes.Clone(d.Hex)
		for _, r := range d.Runs {
			b = r.append(b)
		}
		return b
	}
	rest := d.Length - len(d.Hex)
	filled := bytes.Repeat(d.Repeat, rest/len(d.Repeat)+1)
	return append(bytes.Clone(d.Hex), filled[:rest]...)
}

// Equal reports whether b equals the bytes, or has their digest and length.
func (d Data) Equal(b []byte) bool {
	if d.SHA256 == nil {
		return bytes.Equal(d.Bytes(), b)
	}
	digest := sha256.Sum256(b)
	return len(b) == d.Length && bytes.Equal(d.SHA256, digest[:])
}

// Secret is a secret that a user or host supplies.
type Secret struct {
	Kind string `json:"kind"` // "passphrase", "master-key" (base64 of 32 bytes) or "kms" (base64 of the local KMS's 32 bytes)
	Text string `json:"text"`
}

// Place is where a package is stored. Name is nil if the place has no name.
type Place struct {
	Owner      string  `json:"owner"`
	Collection string  `json:"collection"`
	Name       *string `json:"name,omitempty"`
}

// Format converts the place to package format's type.
func (p Place) Format() format.Place {
	if p.Name == nil {
		return format.Place{Owner: p.Owner, Collection: p.Collection}
	}
	return format.Place{Owner: p.Owner, Collection: p.Collection, Name: *p.Name, Named: true}
}

// Header is a package's header, with the numbers of SPEC.md section 3.1.
type Header struct {
	Algorithm   uint8             `json:"algorithm"`
	Use         uint8             `json:"use"`
	Flags       uint8             `json:"flags"`
	Source      uint8             `json:"source"`
	Class       uint8             `json:"class"`
	Type        uint8             `json:"type"`
	KeyID       Hex               `json:"keyId"`
	Salt        Hex               `json:"salt"`
	EncryptedAt int64             `json:"encryptedAt"`
	Revision    uint64            `json:"revision"`
	Iterations  uint32            `json:"iterations"`
	Context     map[string]string `json:"context"`
}

// Format converts the header to package format's type.
func (h Header) Format() (format.Header, error) {
	context, err := format.NewContext(h.Context)
	return format.Header{
		Algorithm: format.Algorithm(h.Algorithm), Use: format.Use(h.Use), Flags: format.Flags(h.Flags), Source: format.Source(h.Source),
		Class: h.Class, Type: format.ValueType(h.Type), KeyID: format.KeyID(h.KeyID), Salt: format.Salt(h.Salt),
		EncryptedAt: h.EncryptedAt, Revision: h.Revision, Iterations: h.Iterations, Context: context,
	}, err
}

// Details are the details in a package's plaintext (SPEC.md section 6.1).
type Details struct {
	Context      map[string]string `json:"context,omitempty"` // with flag sealed context
	Name         string            `json:"name,omitempty"`    // with flag sealed name
	MediaType    string            `json:"mediaType"`
	FileName     string            `json:"fileName"`
	LastModified int64             `json:"lastModified"`
	Element      uint8             `json:"element,omitempty"` // for views
}

// Format converts the details to package format's type.
func (d Details) Format() (format.Details, error) {
	context, err := format.NewContext(d.Context)
	return format.Details{
		Context: context, Name: d.Name, MediaType: d.MediaType, FileName: d.FileName, LastModified: d.LastModified,
		Element: format.Element(d.Element),
	}, err
}

// Package is a valid package with all inputs and intermediate results of sealing it.
type Package struct {
	Name           string   `json:"name"`
	Open           bool     `json:"open"`               // false if only readers with algorithm 3 can open it
	Document       string   `json:"document,omitempty"` // name of the keyset document that holds the key
	Secret         *Secret  `json:"secret,omitempty"`   // for packages without a keyset
	Key            Hex      `json:"key"`                // K: the data key, or the key derived from the secret
	Header         Header   `json:"header"`
	Place          Place    `json:"place"`
	Details        *Details `json:"details,omitempty"` // nil if the plaintext has no details
	Padding        int      `json:"padding,omitempty"` // length of the padding, including 0x80, if it differs from a writer's
	Nonce          Hex      `json:"nonce"`             // for algorithm 3, the salt of the body
	Value          Data     `json:"value"`
	MessageKey     Hex      `json:"messageKey"` // for algorithm 3, the file key
	HeaderBytes    Data     `json:"headerBytes"`
	AdditionalData Data     `json:"additionalData"`
	Package        Data     `json:"package"`
	// JSON is the JSON form. It has no ciphertext if only the digest of the package is known.
	JSON json.RawMessage `json:"json"`
}

// Variant is a text in JSON form and the binary package that it represents.
type Variant struct {
	Name     string `json:"name"`
	Text     string `json:"text"`
	Package  Hex    `json:"package"`
	Optional bool   `json:"optional,omitempty"` // a reader may refuse it as malformed
}

// Refusals holds inputs that a reader must refuse, each with the code of the error (invalid.json).
type Refusals struct {
	Binary []Malformed     `json:"binary"` // bytes that are not packages
	JSON   []MalformedText `json:"json"`   // texts that are not packages in JSON form
	Open   []Refusal       `json:"open"`   // packages that must not open
	Decode []Refusal       `json:"decode"` // packages that open, but have a value that is not of its type
}

// Malformed is a byte string that must not parse.
type Malformed struct {
	Name  string `json:"name"`
	Bytes Data   `json:"bytes"`
	Code  string `json:"code"`
}

// MalformedText is a text that must not parse as the JSON form.
type MalformedText struct {
	Name string `json:"name"`
	Text string `json:"text,omitempty"`
	Hex  Hex    `json:"hex,omitempty"` // used instead of Text if the text is not UTF-8
	Code string `json:"code"`
}

// Refusal is a package that must not open at the place with the given keys.
type Refusal struct {
	Name     string  `json:"name"`
	Document string  `json:"document,omitempty"` // keyset document of the reader
	Secret   *Secret `json:"secret,omitempty"`   // or secret of the reader
	Use      uint8   `json:"use"`                // use and minimum class that the reader requires
	Least    uint8   `json:"least"`
	Place    Place   `json:"place"`
	Package  Data    `json:"package"`          // ignored if Of is given
	Of       string  `json:"of,omitempty"`     // name of the valid package from which Splice takes bytes
	Splice   []Part  `json:"splice,omitempty"` // parts of the package in their order
	Code     string  `json:"code"`
}

// Part is the bytes of a package from offset From up to To, or Hex.
type Part struct {
	From int `json:"from,omitempty"`
	To   int `json:"to,omitempty"`
	Hex  Hex `json:"hex,omitempty"`
}

// Bytes returns the refused package. packages contains the valid packages by name.
func (r Refusal) Bytes(packages map[string][]byte) (b []byte) {
	if r.Of == "" {
		return r.Package.Bytes()
	}
	for _, p := range r.Splice {
		b = append(append(b, p.Hex...), packages[r.Of][p.From:p.To]...)
	}
	return b
}

// RuleVectors holds vectors of rules that packages alone do not test (rules.json).
type RuleVectors struct {
	Secrets     []TextSecret `json:"secrets"`
	Sessions    []Session    `json:"sessions"`
	Collections []Collection `json:"collections"`
	Paddings    []Padding    `json:"paddings"`
	Bodies      []Body       `json:"bodies"`
	Revisions   []Revision   `json:"revisions"`
	Primaries   []Primary    `json:"primaries"`
	Inputs      []Input      `json:"inputs"`
}

// TextSecret is the text of a secret. A text of kind "passphrase" is not a valid master key. A text with a Code is neither a
// valid passphrase nor a valid master key.
type TextSecret struct {
	Name       string `json:"name"`
	Text       string `json:"text,omitempty"`
	Hex        Hex    `json:"hex,omitempty"` // used instead of Text if the text is not UTF-8
	Kind       string `json:"kind,omitempty"`
	Salt       Hex    `json:"salt,omitempty"`       // for passphrases
	Iterations uint32 `json:"iterations,omitempty"` // for passphrases
	Key        Hex    `json:"key,omitempty"`        // K
	Code       string `json:"code,omitempty"`
}

// Session contains the values that are derived from the id of a session.
type Session struct {
	Name      string `json:"name"`
	Owner     string `json:"owner"`
	ID        string `json:"id"` // base64url
	MasterKey Hex    `json:"masterKey"`
	StoredAs  string `json:"storedAs"`
}

// Collection is the collection of a database field, or the code of the error.
type Collection struct {
	Name       string `json:"name"`
	Table      string `json:"table"`
	Column     string `json:"column"`
	Collection string `json:"collection,omitempty"`
	Code       string `json:"code,omitempty"`
}

// Padding is the length of a plaintext before and after padding.
type Padding struct {
	Length int `json:"length"`
	Padded int `json:"padded"`
}

// Body is the length of a body under a header with an algorithm and flags. Code is the code of the error if the length is
// invalid.
type Body struct {
	Name      string `json:"name"`
	Algorithm uint8  `json:"algorithm"`
	Flags     uint8  `json:"flags"`
	Length    int64  `json:"length"`
	Code      string `json:"code,omitempty"`
}

// Revision is a pair of packages of one place. Later replaces Earlier.
type Revision struct {
	Name    string `json:"name"`
	Earlier Hex    `json:"earlier"`
	Later   Hex    `json:"later"`
}

// Input is the input of a writer that seals an empty value. Code is the code of the error if the writer must refuse it.
type Input struct {
	Name    string            `json:"name"`
	Flags   uint8             `json:"flags"`
	Type    uint8             `json:"type"`
	Place   Place             `json:"place"`
	Context map[string]string `json:"context,omitempty"` // context in the header
	Details Details           `json:"details"`
	Code    string            `json:"code,omitempty"`
}

// Primary is the key of a document that seals for a use and class, or the code of the error.
type Primary struct {
	Name     string `json:"name"`
	Document string `json:"document"`
	Use      uint8  `json:"use"`
	Class    uint8  `json:"class"`
	KeyID    Hex    `json:"keyId,omitempty"`
	Code     string `json:"code,omitempty"`
}
