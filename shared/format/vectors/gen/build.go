package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// The longest bodies and additional data that a vector spells out; of longer ones it gives the digest.
const longestBody, longestData = 4 << 10, 1 << 10

// builder is a vector being made.
type builder struct {
	name     string
	document string
	secret   *vectors.Secret
	in       plain.Input
	context  map[string]string
	place    vectors.Place
	details  *vectors.Details
	value    vectors.Data
	padding  int
	spelled  bool // out, however long it is
}

// begin starts a package of text under the primary of a use and class.
func begin(r *ring, name string, use format.Use, class classify.Class) *builder {
	id, key := r.primary(use, class)
	record := "record"
	return &builder{
		name: name, document: r.name, value: vectors.Data{Hex: vectors.Hex("value of " + name)},
		place: vectors.Place{Owner: r.doc.Owner, Collection: "vectors", Name: &record},
		in: plain.Input{
			Key: key, Nonce: draw(format.NonceSize, name+"/nonce"),
			Header: format.Header{
				Algorithm: envelope.Algorithm(class, 0), Use: use, Source: format.FromKeyset, Class: uint8(class), Type: format.Text,
				KeyID: id, Salt: format.Salt(draw(format.SaltSize, name+"/salt")), EncryptedAt: t0,
			},
		},
	}
}

// under seals under another key of the ring than the primary.
func (b *builder) under(r *ring, id format.KeyID) *builder {
	b.in.Header.KeyID, b.in.Key = id, r.keys[id]
	return b
}

// passphrase seals without a keyset.
func (b *builder) passphrase(text string, iterations uint32) *builder {
	h := &b.in.Header
	h.Source, h.Iterations = format.FromPassphrase, iterations
	b.in.Key = plain.FromPassphrase(text, h.Salt, iterations)
	return b.alone("passphrase", text)
}

// masterKey seals without a keyset.
func (b *builder) masterKey(master []byte) *builder {
	b.in.Header.Source, b.in.Key = format.FromMasterKey, plain.FromMasterKey(master)
	return b.alone("master-key", base64.StdEncoding.EncodeToString(master))
}

func (b *builder) alone(kind, text string) *builder {
	b.secret, b.document = &vectors.Secret{Kind: kind, Text: text}, ""
	b.in.Header.KeyID = plain.KeyID(b.in.Key)
	return b
}

func (b *builder) typed(t format.ValueType, value []byte) *builder {
	b.in.Header.Type, b.value = t, vectors.Data{Hex: value}
	return b
}

func (b *builder) describe(d vectors.Details) *builder {
	b.details, b.in.Details = &d, must(d.Format())
	return b
}

func (b *builder) with(context map[string]string) *builder {
	b.context, b.in.Header.Context = context, must(format.NewContext(context))
	return b
}

// flag sets flags, and the algorithm that they ask for.
func (b *builder) flag(flags format.Flags) *builder {
	b.in.Header.Flags = flags
	b.in.Header.Algorithm = envelope.Algorithm(classify.Class(b.in.Header.Class), flags)
	return b
}

func (b *builder) chunked() *builder {
	b.in.Header.Algorithm, b.in.Nonce = format.Chunked, draw(plain.ChunkedSalt, b.name+"/body salt")
	return b
}

// padded gives the plaintext another padding than writers add, of n bytes.
func (b *builder) padded(n int) *builder {
	b.padding = n
	return b
}

func (b *builder) named(name string) *builder {
	b.place.Name = &name
	return b
}

// seal returns the package and its additional data.
func (b *builder) seal() (format.Package, []byte) {
	b.in.Place, b.in.Value = b.place.Format(), b.value.Bytes()
	p, additional, err := plain.Seal(b.in)
	if err != nil {
		panic(b.name + ": " + err.Error())
	}
	if b.padding > 0 {
		plaintext := append(must(format.AppendDetails(nil, &b.in.Header, b.in.Details)), b.in.Value...)
		plaintext = append(append(plaintext, 0x80), make([]byte, b.padding-1)...)
		p.Body = plain.SealBody(b.in, additional, plaintext)
	}
	return p, additional
}

func (b *builder) bytes() []byte {
	p, _ := b.seal()
	return must(p.Append(nil))
}

func (b *builder) vector() vectors.Package {
	p, additional := b.seal()
	if b.details == nil && (p.Header.Type == format.Blob || p.Header.Type == format.File) {
		b.details = &vectors.Details{}
	}
	most := longestBody
	if b.spelled {
		most = len(p.Body)
	}
	v := vectors.Package{
		Name: b.name, Open: p.Header.Algorithm != format.Chunked, Document: b.document, Secret: b.secret, Key: b.in.Key,
		Header: b.header(), Place: b.place, Details: b.details, Padding: b.padding, Nonce: b.in.Nonce, Value: b.value,
		MessageKey: plain.MessageKey(b.in.Key, p.Header.Salt), HeaderBytes: vectors.Data{Hex: must(p.Header.Append(nil))},
		AdditionalData: data(additional, longestData), Package: data(must(p.Append(nil)), p.Header.Size()+most), JSON: jsonOf(p, most),
	}
	if p.Header.Algorithm == format.Chunked {
		v.MessageKey = plain.FileKey(b.in.Key, p.Header.Salt)
	}
	return v
}

func (b *builder) header() vectors.Header {
	h, context := &b.in.Header, b.context
	if context == nil {
		context = map[string]string{}
	}
	return vectors.Header{
		Algorithm: uint8(h.Algorithm), Use: uint8(h.Use), Flags: uint8(h.Flags), Source: uint8(h.Source), Class: h.Class, Type: uint8(h.Type),
		KeyID: h.KeyID[:], Salt: h.Salt[:], EncryptedAt: h.EncryptedAt, Revision: h.Revision, Iterations: h.Iterations, Context: context,
	}
}

func data(b []byte, most int) vectors.Data {
	if len(b) <= most {
		return vectors.Data{Hex: b}
	}
	digest := sha256.Sum256(b)
	return vectors.Data{SHA256: digest[:], Length: len(b)}
}

// jsonOf is the JSON form, of a long package its metadata only.
func jsonOf(p format.Package, most int) json.RawMessage {
	if len(p.Body) <= most {
		return must(jsonform.Marshal(p))
	}
	_, m, err := jsonform.Split(p)
	if err != nil {
		panic(err)
	}
	return compact(map[string]any{"metadata": m})
}
