package reader

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"slices"

	"golang.org/x/text/unicode/norm"
)

// Key is a data key of a keyset.
type Key struct {
	Bytes      []byte
	Use, Class byte
	State      byte // state in the document
}

// States of keys.
const (
	Enabled byte = 1 + iota
	Compromised
	Disabled
	Destroyed
)

// OpenRequest contains the place of a package and the keys of the reader: those of a keyset, by id, or a secret.
type OpenRequest struct {
	Keys       map[string]Key
	Shredded   bool   // whether the keyset's document is shredded
	Kind, Text string // secret: "passphrase" or "master-key", and its text
	Use, Least byte
	Owner      string
	Collection string
	Name       string
	Named      bool
}

// Opened contains the contents of a package.
type Opened struct {
	Context      [][2]string // with flag sealed context
	Name         string
	MediaType    string
	FileName     string
	LastModified int64
	Element      byte
	Value        []byte
}

// Open opens a package (section 6.8).
func (r *Reader) Open(pkg []byte, want *OpenRequest) (o Opened, code Code) {
	h, body, code := r.Parse(pkg)
	if code != "" {
		return o, code
	}
	if !r.check(MinClass, h.Class >= want.Least) {
		return o, tooLow
	}
	if !r.check(RequiredUse, h.Use == want.Use) {
		return o, authentication
	}
	key, code := r.find(&h, want)
	if code != "" {
		return o, code
	}
	plaintext, code := r.body(&h, key, r.additionalData(&h, want), body)
	if code != "" {
		return o, code
	}
	return r.cut(&h, plaintext)
}

// find returns K (section 6.8, step 4).
func (r *Reader) find(h *Header, want *OpenRequest) ([]byte, Code) {
	if want.Keys == nil {
		return r.secret(h, want)
	}
	k, ok := want.Keys[h.KeyID]
	switch {
	case want.Shredded && h.Source == keyset && !r.breaks(ShreddedKeys):
		return nil, keyDestroyed
	case !r.check(FromKeyset, h.Source == keyset), !ok:
		return nil, unknownKey
	case !r.check(KeyUse, k.Use == h.Use), !r.check(KeyClass, k.Class == h.Class):
		return nil, authentication
	case !r.check(DestroyedKey, k.State != Destroyed):
		return nil, keyDestroyed
	case !r.check(DisabledKey, k.State != Disabled), r.breaks(CompromisedOpens) && k.State == Compromised:
		return nil, keyUnusable
	}
	if k.Bytes == nil {
		return nil, unknownKey
	}
	return k.Bytes, ""
}

func (r *Reader) secret(h *Header, want *OpenRequest) ([]byte, Code) {
	kinds := map[string]byte{"passphrase": passphrase, "master-key": masterKey}
	if !r.check(SourceOfSecret, h.Source == kinds[want.Kind]) {
		return nil, wrongSecret
	}
	if h.Source == passphrase && (!r.check(MinIterations, h.Iterations >= 100_000) || !r.check(MaxIterations, h.Iterations <= 10_000_000)) {
		return nil, outOfRange
	}
	k := r.Key(want.Kind, want.Text, []byte(h.Salt), h.Iterations)
	if !r.check(KeyIDOfSecret, string(derive(k, nil, "coffer/v1 key id")) == h.KeyID) {
		return nil, wrongSecret
	}
	return k, ""
}

// stretched caches derived keys, because many vectors need the same ones.
var stretched = map[string][]byte{}

// Key returns K of a secret (sections 4.3 and 4.4).
func (r *Reader) Key(kind, secret string, salt []byte, iterations uint32) []byte {
	if kind == "master-key" {
		master, _ := base64.StdEncoding.DecodeString(secret)
		if r.breaks(MasterKeyDerived) {
			return master
		}
		return derive(master, nil, "coffer/v1 master key")
	}
	normal := norm.NFC.String(secret)
	if r.breaks(PassphraseNFC) {
		normal = secret
	}
	if r.breaks(PassphraseCanonical) {
		normal = norm.NFKC.String(secret)
	}
	iterations = min(iterations, 1_000_000) // bounds the work of a reader that does not check iterations
	name := string(salt) + string(binary.BigEndian.AppendUint32(nil, iterations)) + normal
	if stretched[name] == nil {
		stretched[name], _ = pbkdf2.Key(sha256.New, normal, salt, int(iterations), 32)
	}
	return stretched[name]
}

// derive is HKDF of section 1.
func derive(key, salt []byte, info string) []byte {
	b, err := hkdf.Key(sha256.New, key, salt, info, 32)
	if err != nil {
		panic(err)
	}
	return b
}

// additionalData returns the additional data (section 5).
func (r *Reader) additionalData(h *Header, want *OpenRequest) []byte {
	b := sized(nil, h.bytes)
	owner, collection, name := want.Owner, want.Collection, want.Name
	if r.breaks(NamesAsGiven) {
		name = norm.NFC.String(name)
	}
	b = sized(sized(b, []byte(owner)), []byte(collection))
	if !want.Named && !r.breaks(NoNameDiffers) {
		return append(b, 0)
	}
	return sized(append(b, 1), []byte(name))
}

func sized(b, field []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(field))), field...)
}

// body opens a body by its algorithm (sections 6.4 to 6.6).
func (r *Reader) body(h *Header, key, additional, body []byte) ([]byte, Code) {
	if h.Algorithm == chunked {
		return r.chunks(derive(key, []byte(h.Salt), "coffer/v1 file key"), additional, body)
	}
	k := derive(key, []byte(h.Salt), "coffer/v1 message key")
	if h.Algorithm == public {
		plaintext := body[28:]
		if !r.breaks(PublicPlaintext) {
			additional = slices.Concat(additional, plaintext)
		}
		_, ok := r.open(PublicTag, k, body[:12], body[12:28], additional)
		return plaintext, code(ok)
	}
	plaintext, ok := r.open(Tag, k, body[:12], body[12:], additional)
	return plaintext, code(ok)
}

func code(ok bool) Code {
	if ok {
		return ""
	}
	return authentication
}

// open decrypts AES-256-GCM. If rule is broken, it does not check the tag.
func (r *Reader) open(tag Rule, key, nonce, sealed, additional []byte) ([]byte, bool) {
	block, _ := aes.NewCipher(key)
	if r.breaks(tag) {
		plaintext := make([]byte, len(sealed)-16)
		cipher.NewCTR(block, append(slices.Clone(nonce), 0, 0, 0, 2)).XORKeyStream(plaintext, sealed[:len(sealed)-16])
		return plaintext, true
	}
	gcm, _ := cipher.NewGCM(block)
	plaintext, err := gcm.Open([]byte{}, nonce, sealed, additional)
	return plaintext, err == nil
}

// chunks opens a chunked body (section 6.6).
func (r *Reader) chunks(key, additional, body []byte) ([]byte, Code) {
	info := "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + string(body[:24])
	if !r.breaks(ChunkedContext) {
		info += string(additional)
	}
	schedule, err := hkdf.Expand(sha512.New, key, info, 76)
	if err != nil {
		panic(err)
	}
	if !r.check(Commitment, bytes.Equal(schedule[44:], body[24:56])) {
		return nil, authentication
	}
	plaintext := make([]byte, 0, len(body))
	body = body[56:]
	for i := uint64(0); len(body) > 0; i++ {
		n := min(len(body), 16400)
		if n < 16 {
			break // the reader does not check the length
		}
		nonce := slices.Clone(schedule[32:44])
		if !r.breaks(ChunkCounter) {
			binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^i)
		}
		chunk, ok := r.open(ChunkTag, schedule[:32], nonce, body[:n], nil)
		if !ok {
			if r.breaks(WholeMessage) && i > 0 {
				return plaintext, ""
			}
			return nil, authentication
		}
		plaintext, body = append(plaintext, chunk...), body[n:]
	}
	return plaintext, ""
}
