package vectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"github.com/coffer-storage/coffer/shared/format"
)

// Hex is bytes, in the files as hexadecimal digits.
type Hex []byte

// MarshalText implements encoding.TextMarshaler.
func (h Hex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// Data is bytes of any length: Hex followed by Repeat over and over to Length bytes in all, or by Runs, or, if only their
// digest is given, SHA256 and Length.
type Data struct {
	Hex    Hex   `json:"hex"`
	Runs   []Run `json:"runs,omitempty"`
	Repeat Hex   `json:"repeat,omitempty"`
	Length int   `json:"length,omitempty"`
	SHA256 Hex   `json:"sha256,omitempty"`
}

// Run is Hex, or Count copies of it. With At, each copy has its number, from 0, in place of the two bytes from there.
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

// Bytes returns the data; nil if only a digest is given.
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

// Equal reports whether b is the data, or has its digest.
func (d Data) Equal(b []byte) bool {
	if d.SHA256 == nil {
		return bytes.Equal(d.Bytes(), b)
	}
	digest := sha256.Sum256(b)
	return len(b) == d.Length && bytes.Equal(d.SHA256, digest[:])
}

// Secret is what a user or host gives.
type Secret struct {
	Kind string `json:"kind"` // "passphrase", "master-key" (32 bytes as base64), "kms" (the local KMS's 32 bytes as base64)
	Text string `json:"text"`
}

// Place is where a package lives; without a Name it has none.
type Place struct {
	Owner      string  `json:"owner"`
	Collection string  `json:"collection"`
	Name       *string `json:"name,omitempty"`
}

// Format returns the place as package format has it.
func (p Place) Format() format.Place {
	if p.Name == nil {
		return format.Place{Owner: p.Owner, Collection: p.Collection}
	}
	return format.Place{Owner: p.Owner, Collection: p.Collection, Name: *p.Name, Named: true}
}

// Header is a package's header, its fields in the numbers of SPEC.md section 3.
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

// Format returns the header as package format has it.
func (h Header) Format() (format.Header, error) {
	context, err := format.NewContext(h.Context)
	return format.Header{
		Algorithm: format.Algorithm(h.Algorithm), Use: format.Use(h.Use), Flags: format.Flags(h.Flags), Source: format.Source(h.Source),
		Class: h.Class, Type: format.ValueType(h.Type), KeyID: format.KeyID(h.KeyID), Salt: format.Salt(h.Salt),
		EncryptedAt: h.EncryptedAt, Revision: h.Revision, Iterations: h.Iterations, Context: context,
	}, err
}

// Details is what the plaintext says of the value.
type Details struct {
	Context      map[string]string `json:"context,omitempty"` // under the flag sealed context
	Name         string            `json:"name,omitempty"`    // under the flag sealed name
	MediaType    string            `json:"mediaType"`
	FileName     string            `json:"fileName"`
	LastModified int64             `json:"lastModified"`
	Element      uint8             `json:"element,omitempty"` // of views
}

// Format returns the details as package format has them.
func (d Details) Format() (format.Details, error) {
	context, err := format.NewContext(d.Context)
	return format.Details{
		Context: context, Name: d.Name, MediaType: d.MediaType, FileName: d.FileName, LastModified: d.LastModified,
		Element: format.Element(d.Element),
	}, err
}

// Package is a valid package with everything that determines it.
type Package struct {
	Name           string   `json:"name"`
	Open           bool     `json:"open"`               // false if readers without algorithm 3 can only parse it
	Document       string   `json:"document,omitempty"` // name of the keyset document that holds the key
	Secret         *Secret  `json:"secret,omitempty"`   // of packages without a keyset
	Key            Hex      `json:"key"`                // the data key, or the key that the secret yields
	Header         Header   `json:"header"`
	Place          Place    `json:"place"`
	Details        *Details `json:"details,omitempty"` // if the plaintext has some
	Padding        int      `json:"padding,omitempty"` // length of the padding, 0x80 included, if it is not what a writer adds
	Nonce          Hex      `json:"nonce"`             // algorithm 3: the salt of the body
	Value          Data     `json:"value"`
	MessageKey     Hex      `json:"messageKey"` // algorithm 3: the file key
	HeaderBytes    Data     `json:"headerBytes"`
	AdditionalData Data     `json:"additionalData"`
	Package        Data     `json:"package"`
	// JSON is the JSON form; of packages given by their digest it has no ciphertext.
	JSON json.RawMessage `json:"json"`
}

// Variant is a text in JSON form and the binary package that it says.
type Variant struct {
	Name     string `json:"name"`
	Text     string `json:"text"`
	Package  Hex    `json:"package"`
	Optional bool   `json:"optional,omitempty"` // a reader may refuse it as malformed
}

// Refusals is what must be refused, each with the code of the error.
type Refusals struct {
	Binary []Malformed     `json:"binary"` // no packages
	JSON   []MalformedText `json:"json"`   // no packages in JSON form
	Open   []Refusal       `json:"open"`   // packages that must not open
	Decode []Refusal       `json:"decode"` // packages that open, and whose value is not what its type says
}

// Malformed is bytes that must not parse.
type Malformed struct {
	Name  string `json:"name"`
	Bytes Data   `json:"bytes"`
	Code  string `json:"code"`
}

// MalformedText is a text that must not parse as the JSON form.
type MalformedText struct {
	Name string `json:"name"`
	Text string `json:"text,omitempty"`
	Hex  Hex    `json:"hex,omitempty"` // in place of Text, if it is not UTF-8
	Code string `json:"code"`
}

// Refusal is a package that parses and must not open at that place with these keys.
type Refusal struct {
	Name     string  `json:"name"`
	Document string  `json:"document,omitempty"` // the keyset document that the reader has
	Secret   *Secret `json:"secret,omitempty"`   // or the secret
	Use      uint8   `json:"use"`                // what the reader demands
	Least    uint8   `json:"least"`
	Place    Place   `json:"place"`
	Package  Data    `json:"package"`          // made of Of's package if that is given
	Of       string  `json:"of,omitempty"`     // name of a valid package
	Splice   []Part  `json:"splice,omitempty"` // its parts in their order
	Code     string  `json:"code"`
}

// Part is the bytes of a package from an offset up to another, or other bytes.
type Part struct {
	From int `json:"from,omitempty"`
	To   int `json:"to,omitempty"`
	Hex  Hex `json:"hex,omitempty"`
}

// Bytes returns the refused package, given the valid packages by name.
func (r Refusal) Bytes(packages map[string][]byte) (b []byte) {
	if r.Of == "" {
		return r.Package.Bytes()
	}
	for _, p := range r.Splice {
		b = append(append(b, p.Hex...), packages[r.Of][p.From:p.To]...)
	}
	return b
}

// Rules is the vectors of the rules that no package shows.
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

// TextSecret is a text that a user typed, and the kind of secret that it is, or the code of the error.
type TextSecret struct {
	Name       string `json:"name"`
	Text       string `json:"text,omitempty"`
	Hex        Hex    `json:"hex,omitempty"` // in place of Text, if it is not UTF-8
	Kind       string `json:"kind,omitempty"`
	Salt       Hex    `json:"salt,omitempty"`       // of a passphrase
	Iterations uint32 `json:"iterations,omitempty"` // of a passphrase
	Key        Hex    `json:"key,omitempty"`        // K
	Code       string `json:"code,omitempty"`
}

// Session is what follows from the id of a session.
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

// Padding is the length of a plaintext before and after it was padded.
type Padding struct {
	Length int `json:"length"`
	Padded int `json:"padded"`
}

// Body is the length of a body under a header of an algorithm and flags, and the code of the error if there is one.
type Body struct {
	Name      string `json:"name"`
	Algorithm uint8  `json:"algorithm"`
	Flags     uint8  `json:"flags"`
	Length    int64  `json:"length"`
	Code      string `json:"code,omitempty"`
}

// Revision is two packages of one place, the second of which replaces the first.
type Revision struct {
	Name    string `json:"name"`
	Earlier Hex    `json:"earlier"`
	Later   Hex    `json:"later"`
}

// Input is what a writer is to seal with an empty value, or the code of the error.
type Input struct {
	Name    string            `json:"name"`
	Flags   uint8             `json:"flags"`
	Type    uint8             `json:"type"`
	Place   Place             `json:"place"`
	Context map[string]string `json:"context,omitempty"` // of the header
	Details Details           `json:"details"`
	Code    string            `json:"code,omitempty"`
}

// Primary is the key that seals for a use and class of a document, or the code of the error.
type Primary struct {
	Name     string `json:"name"`
	Document string `json:"document"`
	Use      uint8  `json:"use"`
	Class    uint8  `json:"class"`
	KeyID    Hex    `json:"keyId,omitempty"`
	Code     string `json:"code,omitempty"`
}
