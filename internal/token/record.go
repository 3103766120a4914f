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
	// labelMAC is the HKDF info of the key that authenticates records. The key is derived from the environment's key
	// for tokens.
	labelMAC = "coffer/v1 token mac"
	// maxDocument bounds the size of a document in bytes. The longest valid document has about 2,800.
	maxDocument = 4096
)

// record is the JSON form of a token. A tombstone has revokedAt and no sha256.
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

// A document is {"token":RECORD,"key":"K","mac":"M"}. M is the MAC of the bytes of RECORD under the environment's key
// with the id K. Both are lowercase hexadecimal.
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

func (e *storedToken) record() []byte {
	r := record{
		ID: e.ID, Name: e.Name, Tenant: e.Tenant, Scopes: e.Scopes.Names(), CreatedAt: e.CreatedAt, ExpiresAt: e.ExpiresAt, RevokedAt: e.RevokedAt,
	}
	if e.hash != [sha256.Size]byte{} {
		r.SHA256 = hex.EncodeToString(e.hash[:])
	}
	text, _ := json.Marshal(r) // never fails: the record has only strings and times
	return text
}

// digest returns the hash that identifies a record in the audit log. It is not secret.
func (e *storedToken) digest() string {
	sum := sha256.Sum256(e.record())
	return hex.EncodeToString(sum[:])
}

// parseRecord parses a record. It returns errAltered if a member is not understood.
func parseRecord(text []byte) (*storedToken, error) {
	var r record
	if json.Unmarshal(text, &r) != nil {
		return nil, errAltered
	}
	scopes, err := identity.ParseScopes(r.Scopes)
	e := &storedToken{Token: Token{
		ID: r.ID, Name: r.Name, Tenant: r.Tenant, Scopes: scopes, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, RevokedAt: r.RevokedAt,
	}}
	tombstone := !r.RevokedAt.IsZero()
	switch {
	case err != nil || r.ID == "":
		return nil, errAltered
	case tombstone && r.SHA256 == "":
		return e, nil
	case tombstone || len(r.ID) != hex.EncodedLen(idSize) || len(r.SHA256) != hex.EncodedLen(sha256.Size) || !identity.ValidGrant(r.Tenant, scopes):
		return nil, errAltered
	}
	if _, err := hex.Decode(e.hash[:], []byte(r.SHA256)); err != nil || e.hash == [sha256.Size]byte{} {
		return nil, errAltered
	}
	return e, nil
}

// keychain authenticates documents under the environment's keys for tokens. It is safe for concurrent use.
type keychain struct {
	system *keyring.System // nil: there are no keys

	mu   sync.Mutex
	macs map[format.KeyID]hash.Hash
}

// sum returns a record's MAC under a key. If there is no such key, it returns envelope.ErrUnknownKey.
func (k *keychain) sum(ctx context.Context, id format.KeyID, text []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.macs[id]
	if h == nil {
		if k.system == nil {
			return nil, envelope.ErrUnknownKey
		}
		key, err := k.system.KeyByID(ctx, envelope.UseTokens, id)
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

// seal returns a token's document. It makes the environment's key for tokens if it does not exist.
func (k *keychain) seal(ctx context.Context, e *storedToken) ([]byte, error) {
	if k.system == nil {
		return nil, envelope.ErrUnknownKey
	}
	key, err := k.system.Key(ctx, envelope.UseTokens)
	if err != nil {
		return nil, err
	}
	text, id := e.record(), key.ID()
	mac, err := k.sum(ctx, id, text)
	return encode(text, id, mac), err
}

// open returns the token of a document. It returns errAltered unless this environment wrote exactly these bytes under
// this name. Any other error means that the document could not be checked.
func (k *keychain) open(ctx context.Context, name string, content []byte) (*storedToken, error) {
	end := len(content) - trailer
	if end < len(recordBegin) || len(content) > maxDocument {
		return nil, errAltered
	}
	var key format.KeyID
	text, id := content[len(recordBegin):end], content[end+len(keyBegin):][:idDigits]
	if _, err := hex.Decode(key[:], id); err != nil {
		return nil, errAltered
	}
	mac, err := k.sum(ctx, key, text)
	if errors.Is(err, envelope.ErrUnknownKey) {
		return nil, errAltered
	}
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(encode(text, key, mac), content) {
		return nil, errAltered
	}
	e, err := parseRecord(text)
	if err != nil || e.ID != name {
		return nil, errAltered
	}
	return e, nil
}
