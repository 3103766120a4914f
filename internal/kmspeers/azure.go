package kmspeers

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/coffer-storage/coffer/server/kms/kmstest"
)

// The credentials of the application in Microsoft Entra.
const (
	AzureTenant = "11111111-2222-3333-4444-555555555555"
	AzureClient = "66666666-7777-8888-9999-000000000000"
	AzureSecret = "PLANTED~azure-client-secret"
	azureToken  = "PLANTED.azure.token"
)

// AzureKey names the key that Recreate and Disable change. The vault also has the key other-key.
const AzureKey = "coffer-key"

// Azure is a fake Azure Key Vault, with the Microsoft Entra that issues its tokens. It speaks TLS; see Main.
type Azure struct {
	kmstest.Faults
	Host string // address and port

	mu   sync.Mutex
	keys map[string][]*azureVersion // the last version is the current one
}

var _ kmstest.Peer = (*Azure)(nil)

type azureVersion struct {
	id       string
	private  *rsa.PrivateKey
	disabled bool
}

// rsaKeys are generated once, since each takes a quarter of a second.
var rsaKeys = sync.OnceValue(func() (keys [3]*rsa.PrivateKey) {
	for i := range keys {
		keys[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return keys
})

// NewAzure starts a vault, which stops when the test ends.
func NewAzure(t testing.TB) *Azure {
	a := &Azure{keys: map[string][]*azureVersion{AzureKey: {newVersion(0)}, "other-key": {newVersion(1)}}}
	server := httptest.NewTLSServer(a)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	a.Host = strings.TrimPrefix(server.URL, "https://")
	return a
}

func newVersion(n int) *azureVersion {
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	return &azureVersion{id: hex.EncodeToString(id), private: rsaKeys()[n]}
}

// Recreate implements kmstest.Peer.
func (a *Azure) Recreate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[AzureKey] = []*azureVersion{newVersion(2)}
}

// Rotate adds a version to the key.
func (a *Azure) Rotate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[AzureKey] = append(a.keys[AzureKey], newVersion(2))
}

// Import adds a version with the given private key.
func (a *Azure) Import(version string, private *rsa.PrivateKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[AzureKey] = append(a.keys[AzureKey], &azureVersion{id: version, private: private})
}

// Disable implements kmstest.Peer.
func (a *Azure) Disable() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, version := range a.keys[AzureKey] {
		version.disabled = true
	}
}

// Delete deletes the key.
func (a *Azure) Delete() {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.keys, AzureKey)
}

// Public returns the current version of the key, and its public key.
func (a *Azure) Public() (version string, public *rsa.PublicKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	current := a.keys[AzureKey][len(a.keys[AzureKey])-1]
	return current.id, &current.private.PublicKey
}

// ServeHTTP serves the APIs of Key Vault and of Entra.
func (a *Azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/"+AzureTenant+"/") {
		a.login(w, r)
		return
	}
	switch a.NextHTTP(r) {
	case kmstest.Denied:
		azureError(w, http.StatusForbidden, "Forbidden", "ForbiddenByRbac")
		return
	case kmstest.Throttled:
		azureError(w, http.StatusTooManyRequests, "Throttled", "")
		return
	case kmstest.Failing:
		azureError(w, http.StatusServiceUnavailable, "ServiceUnavailable", "")
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+azureToken {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://%s/%s", resource="https://vault.azure.net"`, a.Host, AzureTenant))
		azureError(w, http.StatusUnauthorized, "Unauthorized", "")
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.operate(w, r)
}

// login serves the client credentials grant of OAuth 2.0, and the discovery before it.
func (a *Azure) login(w http.ResponseWriter, r *http.Request) {
	authority := "https://" + a.Host + "/" + AzureTenant
	switch {
	case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
		azureAnswer(w, map[string]any{
			"issuer": authority + "/v2.0", "token_endpoint": authority + "/oauth2/v2.0/token", "authorization_endpoint": authority + "/oauth2/v2.0/authorize",
		})
	case r.FormValue("client_id") == AzureClient && r.FormValue("client_secret") == AzureSecret && r.FormValue("scope") != "":
		azureAnswer(w, map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": azureToken})
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": "invalid_client", "error_description": "AADSTS7000215: " + r.FormValue("client_secret")})
	}
}

var azurePath = regexp.MustCompile(`^/keys/([^/]+)(?:/([0-9a-f]{32}))?(?:/([a-z]*))?$`)

// operate serves /keys/NAME[/VERSION][/OPERATION]. a.mu must be held.
func (a *Azure) operate(w http.ResponseWriter, r *http.Request) {
	parts := azurePath.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		azureError(w, http.StatusNotFound, "NotFound", "")
		return
	}
	name, operation := parts[1], parts[3]
	version := a.find(name, parts[2])
	var body struct{ Alg, Value string }
	_ = json.NewDecoder(r.Body).Decode(&body)
	value, _ := base64.RawURLEncoding.DecodeString(body.Value)
	switch {
	case version == nil:
		azureError(w, http.StatusNotFound, "KeyNotFound", "")
	case r.Method == http.MethodGet:
		public := version.private.PublicKey
		azureAnswer(w, map[string]any{
			"attributes": map[string]any{"enabled": !version.disabled},
			"key": map[string]any{"kid": a.kid(name, version), "kty": "RSA", "key_ops": []string{"wrapKey", "unwrapKey", "sign"},
				"n": base64.RawURLEncoding.EncodeToString(public.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes())},
		})
	case version.disabled && operation != "wrapkey": // Key Vault wraps with a disabled key, too
		azureError(w, http.StatusForbidden, "Forbidden", "KeyDisabled")
	default:
		result, err := version.do(operation+" "+body.Alg, value)
		if err != nil {
			azureError(w, http.StatusBadRequest, "BadParameter", "")
			return
		}
		azureAnswer(w, map[string]any{"kid": a.kid(name, version), "value": base64.RawURLEncoding.EncodeToString(result)})
	}
}

func (a *Azure) find(name, id string) *azureVersion {
	versions := a.keys[name]
	if id == "" && len(versions) > 0 {
		return versions[len(versions)-1]
	}
	for _, version := range versions {
		if version.id == id {
			return version
		}
	}
	return nil
}

func (a *Azure) kid(name string, version *azureVersion) string {
	return "https://" + a.Host + "/keys/" + name + "/" + version.id
}

func (v *azureVersion) do(operation string, value []byte) ([]byte, error) {
	switch operation {
	case "wrapkey RSA-OAEP-256":
		return rsa.EncryptOAEP(sha256.New(), rand.Reader, &v.private.PublicKey, value, nil)
	case "unwrapkey RSA-OAEP-256":
		return rsa.DecryptOAEP(sha256.New(), nil, v.private, value, nil)
	case "sign PS256":
		return rsa.SignPSS(rand.Reader, v.private, crypto.SHA256, value, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	return nil, fmt.Errorf("no such operation: %s", operation)
}

func azureAnswer(w http.ResponseWriter, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func azureError(w http.ResponseWriter, status int, code, inner string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": code, "message": "a message with PLANTED details", "innererror": map[string]any{"code": inner},
	}})
}
