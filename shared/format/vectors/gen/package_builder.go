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

// Lengths in bytes above which a vector contains a digest instead of the body or additional data.
const longestBody, longestData = 4 << 10, 1 << 10

// packageBuilder builds the vector of a package.
type packageBuilder struct {
	name     string
	document string
	secret   *vectors.Secret
	in       plain.Input
	context  map[string]string
	place    vectors.Place
	details  *vectors.Details
	value    vectors.Data
	padding  int
	inFull   bool // contains the bytes in full, whatever their length
}

// newPackageBuilder returns a builder for a package of text under the primary of a use and class.
func newPackageBuilder(r *documentBuilder, name string, use format.Use, class classify.Class) *packageBuilder {
	id, key := r.primary(use, class)
	record := "record"
	return &packageBuilder{
		name: name, document: r.name, value: vectors.Data{Hex: vectors.Hex("value of " + name)},
		place: vectors.Place{Owner: r.doc.Owner, Collection: "vectors", Name: &record},
		in: plain.Input{
			Key: key, Nonce: draw(format.NonceSize, name+"/nonce"),
			Header: format.Header{
				Algorithm: envelope.Algorithm(class, 0), Use: use, Source: format.FromKeyset, Class: uint8(class), Type: format.Text,
				KeyID: id, Salt: format.Salt(draw(format.SaltSize, name+"/salt")), EncryptedAt: startTime,
			},
		},
	}
}

// underKey seals under another key than the primary.
func (b *packageBuilder) underKey(r *documentBuilder, id format.KeyID) *packageBuilder {
	b.in.Header.KeyID, b.in.Key = id, r.keys[id]
	return b
}

// passphrase seals under a passphrase.
func (b *packageBuilder) passphrase(text string, iterations uint32) *packageBuilder {
	h := &b.in.Header
	h.Source, h.Iterations = format.FromPassphrase, iterations
	b.in.Key = plain.FromPassphrase(text, h.Salt, iterations)
	return b.fromSecret("passphrase", text)
}

// masterKey seals under a master key.
func (b *packageBuilder) masterKey(master []byte) *packageBuilder {
	b.in.Header.Source, b.in.Key = format.FromMasterKey, plain.FromMasterKey(master)
	return b.fromSecret("master-key", base64.StdEncoding.EncodeToString(master))
}

func (b *packageBuilder) fromSecret(kind, text string) *packageBuilder {
	b.secret, b.document = &vectors.Secret{Kind: kind, Text: text}, ""
	b.in.Header.KeyID = plain.KeyID(b.in.Key)
	return b
}

func (b *packageBuilder) withValue(t format.ValueType, value []byte) *packageBuilder {
	b.in.Header.Type, b.value = t, vectors.Data{Hex: value}
	return b
}

func (b *packageBuilder) withDetails(d vectors.Details) *packageBuilder {
	b.details, b.in.Details = &d, must(d.Format())
	return b
}

func (b *packageBuilder) withContext(context map[string]string) *packageBuilder {
	b.context, b.in.Header.Context = context, must(format.NewContext(context))
	return b
}

// withFlags sets flags and the algorithm that they require.
func (b *packageBuilder) withFlags(flags format.Flags) *packageBuilder {
	b.in.Header.Flags = flags
	b.in.Header.Algorithm = envelope.Algorithm(classify.Class(b.in.Header.Class), flags)
	return b
}

func (b *packageBuilder) chunked() *packageBuilder {
	b.in.Header.Algorithm, b.in.Nonce = format.Chunked, draw(plain.ChunkedSalt, b.name+"/body salt")
	return b
}

// padded pads the plaintext with n bytes, instead of the number that writers use.
func (b *packageBuilder) padded(n int) *packageBuilder {
	b.padding = n
	return b
}

func (b *packageBuilder) withName(name string) *packageBuilder {
	b.place.Name = &name
	return b
}

// seal returns the package and its additional data.
func (b *packageBuilder) seal() (format.Package, []byte) {
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

func (b *packageBuilder) bytes() []byte {
	p, _ := b.seal()
	return must(p.Append(nil))
}

func (b *packageBuilder) vector() vectors.Package {
	p, additional := b.seal()
	if b.details == nil && (p.Header.Type == format.Blob || p.Header.Type == format.File) {
		b.details = &vectors.Details{}
	}
	most := longestBody
	if b.inFull {
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

func (b *packageBuilder) header() vectors.Header {
	h, context := &b.in.Header, b.context
	if context == nil {
		context = map[string]string{}
	}
	return vectors.Header{
		Algorithm: uint8(h.Algorithm), Use: uint8(h.Use), Flags: uint8(h.Flags), Source: uint8(h.Source), Class: h.Class, Type: uint8(h.Type),
		KeyID: h.KeyID[:], Salt: h.Salt[:], EncryptedAt: h.EncryptedAt, Revision: h.Revision, Iterations: h.Iterations, Context: context,
	}
}

func data(b []byte, limit int) vectors.Data {
	if len(b) <= limit {
		return vectors.Data{Hex: b}
	}
	digest := sha256.Sum256(b)
	return vectors.Data{SHA256: digest[:], Length: len(b)}
}

// jsonOf returns the JSON form of a package. If its body is longer than limit, the form contains the metadata only.
func jsonOf(p format.Package, limit int) json.RawMessage {
	if len(p.Body) <= limit {
		return must(jsonform.Marshal(p))
	}
	_, m, err := jsonform.Split(p)
	if err != nil {
		panic(err)
	}
	return encodeASCII(map[string]any{"metadata": m})
}
