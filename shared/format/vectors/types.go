package vectors

import (
	"bytes"
	"crypto/sha256"
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

// Data is bytes of any length: Hex followed by Repeat over and over to Length bytes in all, or, where only
// their digest is given, SHA256 and Length.
type Data struct {
	Hex    Hex `json:"hex"`
	Repeat Hex `json:"repeat,omitempty"`
	Length int `json:"length,omitempty"`
	SHA256 Hex `json:"sha256,omitempty"`
}

// Bytes returns the data; nil where only a digest is given.
func (d Data) Bytes() []byte {
	if d.SHA256 != nil {
		return nil
	}
	if d.Repeat == nil {
		return bytes.Clone(d.Hex)
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
	MediaType    string            `json:"mediaType"`
	FileName     string            `json:"fileName"`
	LastModified int64             `json:"lastModified"`
}

// Format returns the details as package format has them.
func (d Details) Format() (format.Details, error) {
	context, err := format.NewContext(d.Context)
	return format.Details{Context: context, MediaType: d.MediaType, FileName: d.FileName, LastModified: d.LastModified}, err
}

// Package is a valid package with everything that determines it.
type Package struct {
	Name           string   `json:"name"`
	Open           bool     `json:"open"`               // false where readers without algorithm 3 can do no more than parse
	Document       string   `json:"document,omitempty"` // name of the keyset document that holds the key
	Secret         *Secret  `json:"secret,omitempty"`   // of packages without a keyset
	Key            Hex      `json:"key"`                // the data key, or the key that the secret yields
	Header         Header   `json:"header"`
	Place          Place    `json:"place"`
	Details        *Details `json:"details,omitempty"` // where the plaintext has some
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
	Name    string `json:"name"`
	Text    string `json:"text"`
	Package Hex    `json:"package"`
}

// Refusals is what must be refused, each with the code of the error.
type Refusals struct {
	Binary []Malformed     `json:"binary"` // no packages
	JSON   []MalformedText `json:"json"`   // no packages in JSON form
	Open   []Refusal       `json:"open"`   // packages that must not open
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
	Hex  Hex    `json:"hex,omitempty"` // in place of Text, where it is not UTF-8
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
	Package  Hex     `json:"package"`
	Code     string  `json:"code"`
}
