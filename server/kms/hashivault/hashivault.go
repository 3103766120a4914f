// Package hashivault opens KEKs in the transit secrets engine of HashiCorp Vault and OpenBao: symmetric keys that
// support associated data.
//
// URL:
//
//	hashivault://KEY[?mount=PATH]
//
// PATH is where the engine is mounted; the default is transit.
//
// Credentials: the token or the token file in Settings, or else VAULT_TOKEN. A token file is read again when it
// changes, as Vault Agent does it, and when Vault denies access. The other settings of the SDK (VAULT_ADDR,
// VAULT_CACERT, VAULT_NAMESPACE and so on) apply as well. A server calls kms.RenewCredentials to renew the token.
//
// Permissions: update on PATH/encrypt/KEY and PATH/decrypt/KEY, and read on PATH/keys/KEY; also auth/token/lookup-self
// and auth/token/renew-self, which the default policy of Vault grants.
//
// The associated data of the ciphertext contains the additional data and the identity, so transit refuses a wrapped key
// that was moved to another tenant. The identity is the key version and its creation time, so a key that was created
// again under the same name is refused. Transit would create a missing key for a token that may do so: Encrypt reads
// the key first, and creates none.
package hashivault

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"

	"github.com/hashicorp/vault/api"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Settings are the URL of the server and the token, or the path of a file with the token. Empty settings are taken from
// VAULT_ADDR and VAULT_TOKEN.
type Settings struct{ Address, Token, TokenFile string }

var (
	keyName   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	mountName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_/-]{0,127}$`)
)

// Provider returns the provider of hashivault:// URLs; see the package documentation.
func Provider(s Settings) kms.Provider {
	return kms.Provider{Scheme: "hashivault", Open: func(_ context.Context, u *url.URL) (kms.KEK, error) {
		query := u.Query()
		mount := "transit"
		if query.Has("mount") {
			mount = query.Get("mount")
		}
		query.Del("mount")
		if !keyName.MatchString(u.Host) || u.Path != "" || len(query) > 0 || !mountName.MatchString(mount) {
			return nil, fmt.Errorf("kms: a key in Vault is hashivault://KEY or hashivault://KEY?mount=PATH: %w", kms.ErrURL)
		}
		client, err := newClient(s)
		if err != nil {
			return nil, err
		}
		t, err := newToken(client, s.TokenFile)
		if err != nil {
			return nil, err
		}
		return kms.NewRemote(&key{client.Logical(), t, u.Host, mount}), nil
	}}
}

// newClient returns the client of the SDK. It does not connect.
func newClient(s Settings) (*api.Client, error) {
	c := api.DefaultConfig()
	if c.Error != nil {
		return nil, fmt.Errorf("kms: the VAULT_ environment variables are not valid: check those of TLS and VAULT_RATE_LIMIT: %w", kms.ErrSettings)
	}
	if s.Address != "" {
		c.Address = s.Address
	}
	if !isSafeAddress(cmp.Or(c.AgentAddress, c.Address)) {
		return nil, fmt.Errorf("kms: VAULT_ADDR must be the URL of the server, with https:// unless it is this host, without a user and password: %w", kms.ErrSettings)
	}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("kms: VAULT_ADDR must be the URL of the server, such as https://vault.example:8200: %w", kms.ErrSettings)
	}
	client.SetMaxRetries(0) // package kms retries
	if s.Token != "" {
		client.SetToken(s.Token)
	}
	return client, nil
}

// isSafeAddress reports whether the token may be sent to an address: by HTTPS, or without leaving this host.
func isSafeAddress(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.User != nil {
		return false
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" && u.Host != "" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip.IsLoopback()) || u.Scheme == "unix"
}

// key implements kms.Driver for a key of transit.
type key struct {
	vault       *api.Logical
	token       *token
	name, mount string
}

var _ kms.CredentialRenewer = (*key)(nil)

func (k *key) URL() string {
	if k.mount == "transit" {
		return "hashivault://" + k.name
	}
	return "hashivault://" + k.name + "?mount=" + url.QueryEscape(k.mount)
}

// RenewCredentials implements kms.CredentialRenewer.
func (k *key) RenewCredentials(ctx context.Context, log *slog.Logger) { k.token.renewUntil(ctx, log) }

// DescribeCredentials implements kms.CredentialRenewer.
func (k *key) DescribeCredentials(ctx context.Context) string { return k.token.describe(ctx) }

func (k *key) Advice() string {
	if expiry := k.token.expiredAt(); !expiry.IsZero() {
		return "the token of Vault, which expired at " + expiry.UTC().Format(timeLayout) + " and could not be renewed: write a new token to VAULT_TOKEN_FILE, " +
			"or restart with a new VAULT_TOKEN"
	}
	return fmt.Sprintf("that VAULT_TOKEN is correct and has not expired, and that its policy grants update on %[1]s/encrypt/%[2]s and %[1]s/decrypt/%[2]s "+
		"and read on %[1]s/keys/%[2]s", k.mount, k.name)
}

func (k *key) Encrypt(ctx context.Context, plain, additionalData []byte) ([]byte, string, error) {
	info, err := k.readKey(ctx)
	if err != nil {
		return nil, "", err
	}
	identity, ok := info.identity(info.Latest)
	if !ok {
		return nil, "", fmt.Errorf("%w (not a symmetric key with associated data)", kms.ErrKeyGone)
	}
	secret, err := k.write(ctx, k.mount+"/encrypt/"+k.name, map[string]any{
		"plaintext":       base64.StdEncoding.EncodeToString(plain),
		"associated_data": associatedData(identity, additionalData),
		"key_version":     info.Latest,
	})
	if err != nil {
		return nil, "", kmsError(err)
	}
	ciphertext := text(secret, "ciphertext")
	if ciphertext == "" {
		return nil, "", kms.ErrUnavailable
	}
	return []byte(ciphertext), identity, nil
}

func (k *key) Decrypt(ctx context.Context, identity string, ciphertext, additionalData []byte) ([]byte, error) {
	secret, err := k.write(ctx, k.mount+"/decrypt/"+k.name, map[string]any{
		"ciphertext":      string(ciphertext),
		"associated_data": associatedData(identity, additionalData),
	})
	if refused(err) {
		return nil, k.explainRefusal(ctx, identity)
	}
	if err != nil {
		return nil, kmsError(err)
	}
	plain, err := base64.StdEncoding.DecodeString(text(secret, "plaintext"))
	if err != nil || secret == nil {
		return nil, kms.ErrUnavailable
	}
	return plain, nil
}

// write calls an operation of transit.
func (k *key) write(ctx context.Context, path string, data map[string]any) (*api.Secret, error) {
	return k.token.call(func() (*api.Secret, error) {
		return k.vault.WriteWithContext(ctx, path, data)
	})
}

// explainRefusal returns why transit refused to decrypt, since it answers 400 for every reason.
func (k *key) explainRefusal(ctx context.Context, identity string) error {
	info, err := k.readKey(ctx)
	if err != nil {
		return err
	}
	var version int
	var made int64
	if _, err := fmt.Sscanf(identity, "v%d@%d", &version, &made); err != nil {
		return envelope.ErrAuthentication
	}
	now, ok := info.identity(version)
	switch {
	case ok && now == identity && version < info.MinDecryption:
		return fmt.Errorf("%w (version %d is below min_decryption_version)", kms.ErrKeyGone, version)
	case ok && now == identity:
		return envelope.ErrAuthentication
	}
	return kms.ErrRecreated
}

// keyInfo is the answer of transit about a key.
type keyInfo struct {
	Keys          map[string]json.RawMessage `json:"keys"` // creation time of each version in Unix seconds
	Latest        int                        `json:"latest_version"`
	MinDecryption int                        `json:"min_decryption_version"`
}

func (i *keyInfo) identity(version int) (string, bool) {
	made, err := strconv.ParseInt(string(i.Keys[strconv.Itoa(version)]), 10, 64)
	return fmt.Sprintf("v%d@%d", version, made), err == nil
}

// readKey reads the versions of the key.
func (k *key) readKey(ctx context.Context) (*keyInfo, error) {
	secret, err := k.token.call(func() (*api.Secret, error) {
		return k.vault.ReadWithContext(ctx, k.mount+"/keys/"+k.name)
	})
	if err != nil {
		return nil, kmsError(err)
	}
	if secret == nil { // 404
		return nil, kms.ErrKeyGone
	}
	var info keyInfo
	content, err := json.Marshal(secret.Data)
	if err != nil || json.Unmarshal(content, &info) != nil {
		return nil, kms.ErrUnavailable
	}
	return &info, nil
}

// associatedData returns the associated data in base64: length of the identity (2) || identity || additional data.
func associatedData(identity string, additionalData []byte) string {
	bound := append(binary.BigEndian.AppendUint16(nil, uint16(len(identity))), identity...)
	return base64.StdEncoding.EncodeToString(append(bound, additionalData...))
}

// text returns a text in an answer of Vault, which is empty if it is missing.
func text(secret *api.Secret, name string) string {
	if secret == nil {
		return ""
	}
	s, _ := secret.Data[name].(string)
	return s
}

// refused reports whether Vault answered 400.
func refused(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest
}

// denied reports whether Vault answered 401 or 403.
func denied(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden)
}

// kmsError returns the error of package kms for an error of the SDK. It keeps only the status, since the text may quote
// the request.
func kmsError(err error) error {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return fmt.Errorf("%w (Vault cannot be reached: check VAULT_ADDR)", kms.ErrUnavailable)
	}
	sentinel := kms.ErrUnavailable
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden: // as in denied
		sentinel = kms.ErrDenied
	case http.StatusTooManyRequests:
		sentinel = kms.ErrThrottled
	case http.StatusBadRequest, http.StatusNotFound:
		sentinel = kms.ErrKeyGone
	}
	return fmt.Errorf("%w (Vault answers %d)", sentinel, answer.StatusCode)
}
