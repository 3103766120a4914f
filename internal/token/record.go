package token

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	// labelMAC is the info of the key that authenticates records, derived from the environment's key for tokens. No other
	// implementation reads them.
	labelMAC = "coffer/v1 token mac"
	// maxDocument bounds what is parsed, in bytes. The longest record has about 2,800.
	maxDocument = 4096
)

// record is a token as its document has it. A tombstone has revokedAt and no hash.
type record struct {
	ID        string    `json:"id"`
	Name      string    `json:"name,omitempty"`
	Tenant    string    `json:"tenant,omitempty"`
	Scopes    []string  `json:"scopes"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
	RevokedAt time.Time `json:"revokedAt,omitzero"`
	SHA256    string    `json:"sha256,omitempty"`
}

// A document is {"token":RECORD,"key":"K","mac":"M"}. M is the MAC over the bytes of the record under the environment's key with the id
// K, both in lowercase hexadecimal digits.
const (
	recordBegin = `{"token":`
	keyBegin    = `,"key":"`
	macBegin    = `","mac":"`
	macEnd      = `"}`
	idDigits    = 2 * len(format.KeyID{})
	trailer     = len(keyBegin) + idDigits + len(macBegin) + 2*sha256.Size + len(macEnd)
)

func encode(record []byte, key format.KeyID, mac []byte) []byte {
	content := append(append([]byte(recordBegin), record...), keyBegin...)
	content = append(hex.AppendEncode(content, key[:]), macBegin...)
	return append(hex.AppendEncode(content, mac), macEnd...)
}

func (e *entry) record() []byte {
	r := record{
		ID: e.ID, Name: e.Name, Tenant: e.Tenant, Scopes: e.Scopes.Names(), CreatedAt: e.CreatedAt, ExpiresAt: e.ExpiresAt, RevokedAt: e.RevokedAt,
	}
	if e.hash != [sha256.Size]byte{} {
		r.SHA256 = hex.EncodeToString(e.hash[:])
	}
	text, _ := json.Marshal(r) // cannot fail: texts and times
	return text
}

// digest names a record in the audit log. It is not secret.
func (e *entry) digest() string {
	sum := sha256.Sum256(e.record())
	return hex.EncodeToString(sum[:])
}

// parseRecord returns ErrAltered unless every member is understood.
func parseRecord(text []byte) (*entry, error) {
	var r record
	if json.Unmarshal(text, &r) != nil {
		return nil, ErrAltered
	}
	scopes, err := identity.ParseScopes(r.Scopes)
	e := &entry{Token: Token{
		ID: r.ID, Name: r.Name, Tenant: r.Tenant, Scopes: scopes, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, RevokedAt: r.RevokedAt,
	}}
	tombstone := !r.RevokedAt.IsZero()
	switch {
	case err != nil || r.ID == "":
		return nil, ErrAltered
	case tombstone && r.SHA256 == "":
		return e, nil
	case tombstone || len(r.ID) != hex.EncodedLen(idSize) || len(r.SHA256) != hex.EncodedLen(sha256.Size) || !identity.ValidGrant(r.Tenant, scopes):
		return nil, ErrAltered
	}
	if _, err := hex.Decode(e.hash[:], []byte(r.SHA256)); err != nil || e.hash == [sha256.Size]byte{} {
		return nil, ErrAltered
	}
	return e, nil
}

// keychain authenticates documents under the environment's keys for tokens. It is safe for concurrent use.
type keychain struct {
	system *keyring.System // nil: there are no keys

	mu   sync.Mutex
	macs map[format.KeyID]hash.Hash
}

// sum returns a record's MAC under a key, or envelope.ErrUnknownKey.
func (k *keychain) sum(id format.KeyID, text []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.macs[id]
	if h == nil {
		if k.system == nil {
			return nil, envelope.ErrUnknownKey
		}
		key, err := k.system.KeyByID(envelope.UseTokens, id)
		if err != nil {
			return nil, err
		}
		h = key.MAC(labelMAC)
		k.macs[id] = h
	}
	h.Reset()
	h.Write(text)
	return h.Sum(nil), nil
}

func newKeychain(system *keyring.System) *keychain {
	return &keychain{system: system, macs: map[format.KeyID]hash.Hash{}}
}

// seal returns a token's document, and makes the environment's key for tokens if it is missing.
func (k *keychain) seal(ctx context.Context, e *entry) ([]byte, error) {
	if k.system == nil {
		return nil, envelope.ErrUnknownKey
	}
	key, err := k.system.Key(ctx, envelope.UseTokens)
	if err != nil {
		return nil, err
	}
	text, id := e.record(), key.ID()
	mac, err := k.sum(id, text)
	return encode(text, id, mac), err
}

// open returns the token of a document. It returns ErrAltered for a document that this environment did not write under this name,
// byte for byte. Any other error means that nothing can be said about it.
func (k *keychain) open(name string, content []byte) (*entry, error) {
	end := len(content) - trailer
	if end < len(recordBegin) || len(content) > maxDocument {
		return nil, ErrAltered
	}
	var key format.KeyID
	text, id := content[len(recordBegin):end], content[end+len(keyBegin):][:idDigits]
	if _, err := hex.Decode(key[:], id); err != nil {
		return nil, ErrAltered
	}
	mac, err := k.sum(key, text)
	if errors.Is(err, envelope.ErrUnknownKey) {
		return nil, ErrAltered
	}
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(encode(text, key, mac), content) {
		return nil, ErrAltered
	}
	e, err := parseRecord(text)
	if err != nil || e.ID != name {
		return nil, ErrAltered
	}
	return e, nil
}
