// Package kmspeers has fake KMSs for tests. They run in the process of the test, on loopback. Each speaks the wire
// protocol of the real one, checks credentials as it does, and encrypts.
package kmspeers

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coffer-storage/coffer/server/kms/kmstest"
)

// Vault is a fake Vault server with transit at two mounts, transit and other/transit.
type Vault struct {
	kmstest.Faults
	URL, Token string

	mu     sync.Mutex
	tokens map[string]*vaultToken
	made   int64 // creation time of the last key
	keys   map[string]*vaultKey
	last   []byte // the associated data of the last request
}

var _ kmstest.Peer = (*Vault)(nil)

// VaultKey is the key of Recreate and Disable. There is another key, other-key.
const VaultKey = "coffer-key"

type vaultKey struct {
	versions []vaultVersion
}

type vaultVersion struct {
	aead cipher.AEAD
	made int64 // Unix seconds
}

// NewVault starts a server, which stops when the test ends.
func NewVault(t testing.TB) *Vault {
	v := &Vault{Token: "hvs.PLANTED-vault-token", tokens: map[string]*vaultToken{}, keys: map[string]*vaultKey{}, made: time.Now().Unix() - 1000}
	v.Grant(v.Token, VaultLife{TTL: 768 * time.Hour, Period: 768 * time.Hour})
	for _, mount := range []string{"transit", "other/transit"} {
		for _, name := range []string{VaultKey, "other-key"} {
			v.keys[mount+"/"+name] = &vaultKey{versions: []vaultVersion{v.version()}}
		}
	}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	v.URL = server.URL
	return v
}

// version creates a version of a key. v.mu must be held.
func (v *Vault) version() vaultVersion {
	v.made++
	return vaultVersion{newAEAD(), v.made}
}

func newAEAD() cipher.AEAD {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	block, _ := aes.NewCipher(key)
	aead, _ := cipher.NewGCM(block)
	return aead
}

// Recreate implements kmstest.Peer.
func (v *Vault) Recreate() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys["transit/"+VaultKey] = &vaultKey{versions: []vaultVersion{v.version()}}
}

// Disable deletes the key, since transit cannot disable one.
func (v *Vault) Disable() {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.keys, "transit/"+VaultKey)
}

// Rotate adds a version to the key.
func (v *Vault) Rotate() {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := v.keys["transit/"+VaultKey]
	k.versions = append(k.versions, v.version())
}

// Bound returns the associated data of the last request.
func (v *Vault) Bound() []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last
}

// ServeHTTP serves the API below /v1/.
func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, token := v.NextHTTP(r), v.token(r.Header.Get("X-Vault-Token"))
	switch {
	case fault == kmstest.Denied || token == nil:
		refuse(w, http.StatusForbidden, "permission denied "+r.Header.Get("X-Vault-Token"))
		return
	case fault == kmstest.Throttled:
		refuse(w, http.StatusTooManyRequests, "request path: rate limit quota exceeded")
		return
	case fault == kmstest.Failing:
		refuse(w, http.StatusServiceUnavailable, "Vault is sealed")
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	if operation, ok := strings.CutPrefix(path, "auth/token/"); ok {
		v.aboutToken(w, r, token, operation)
		return
	}
	slash := strings.LastIndexByte(path, '/')
	name, path := path[slash+1:], path[:slash]
	slash = strings.LastIndexByte(path, '/')
	mount, operation := path[:slash], path[slash+1:]

	v.mu.Lock()
	defer v.mu.Unlock()
	k, body := v.keys[mount+"/"+name], map[string]any{}
	_ = json.NewDecoder(r.Body).Decode(&body)
	v.last = raw(body["associated_data"])
	switch {
	case k == nil && r.Method == http.MethodGet:
		refuse(w, http.StatusNotFound)
	case k == nil:
		refuse(w, http.StatusBadRequest, "encryption key not found")
	case r.Method == http.MethodGet && operation == "keys":
		versions := map[string]int64{}
		for i, one := range k.versions {
			versions[strconv.Itoa(i+1)] = one.made
		}
		answer(w, map[string]any{"name": name, "type": "aes256-gcm96", "keys": versions, "latest_version": len(k.versions), "min_decryption_version": 1})
	case operation == "encrypt":
		k.encrypt(w, body)
	case operation == "decrypt":
		k.decrypt(w, body)
	default:
		refuse(w, http.StatusNotFound)
	}
}

func (k *vaultKey) encrypt(w http.ResponseWriter, body map[string]any) {
	n := len(k.versions)
	if asked, ok := body["key_version"].(float64); ok {
		n = int(asked)
	}
	if n < 1 || n > len(k.versions) {
		refuse(w, http.StatusBadRequest, "cannot encrypt with that version")
		return
	}
	plain, associated := raw(body["plaintext"]), raw(body["associated_data"])
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce)
	sealed := k.versions[n-1].aead.Seal(nonce, nonce, plain, associated)
	answer(w, map[string]any{"ciphertext": fmt.Sprintf("vault:v%d:%s", n, base64.StdEncoding.EncodeToString(sealed)), "key_version": n})
}

func (k *vaultKey) decrypt(w http.ResponseWriter, body map[string]any) {
	text, _ := body["ciphertext"].(string)
	parts := strings.SplitN(text, ":", 3)
	if len(parts) != 3 || parts[0] != "vault" {
		refuse(w, http.StatusBadRequest, "invalid ciphertext: no prefix")
		return
	}
	n, _ := strconv.Atoi(strings.TrimPrefix(parts[1], "v"))
	sealed := raw(parts[2])
	if n < 1 || n > len(k.versions) || len(sealed) < 28 {
		refuse(w, http.StatusBadRequest, "invalid ciphertext: could not decode")
		return
	}
	plain, err := k.versions[n-1].aead.Open(nil, sealed[:12], sealed[12:], raw(body["associated_data"]))
	if err != nil {
		refuse(w, http.StatusBadRequest, "cipher: message authentication failed")
		return
	}
	answer(w, map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plain)})
}

func raw(text any) []byte {
	s, _ := text.(string)
	b, _ := base64.StdEncoding.DecodeString(s)
	return b
}

func answer(w http.ResponseWriter, data map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "1", "data": data})
}

func refuse(w http.ResponseWriter, status int, errors ...string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": append([]string{}, errors...)})
}
