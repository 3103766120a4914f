// Package hashivault opens KEKs in the transit engine of HashiCorp Vault, and of OpenBao.
//
// What it guarantees: the additional data and the key's identity are the ciphertext's associated data, so
// transit itself refuses a wrapped key that was moved to another tenant. The identity is the key's version
// and when that was made; a key that was made again under the same name is refused as such. No key is made by
// using one: transit would, for a token that may create.
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

// Settings say which server, and who asks: by a token, or by that in a file, which is read again when it
// changes, as Vault Agent has it, and when Vault denies access. What is empty is taken from the SDK's own
// variables: VAULT_ADDR, VAULT_TOKEN; VAULT_CACERT, VAULT_NAMESPACE and so on always are.
type Settings struct{ Address, Token, TokenFile string }

var (
	keyName   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	mountName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_/-]{0,127}$`)
)

// Provider opens URLs of the form
//
//	hashivault://KEY[?mount=PATH]
//
// where the engine is mounted at transit if the URL does not say otherwise.
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
		client, err := open(s)
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

func open(s Settings) (*api.Client, error) {
	c := api.DefaultConfig()
	if c.Error != nil {
		return nil, fmt.Errorf("kms: the VAULT_ variables are not valid: check those of TLS, and VAULT_RATE_LIMIT: %w", kms.ErrSettings)
	}
	if s.Address != "" {
		c.Address = s.Address
	}
	if !safe(cmp.Or(c.AgentAddress, c.Address)) {
		return nil, fmt.Errorf("kms: VAULT_ADDR must be the URL of the server, https:// where it is not this host, without a user and password: %w", kms.ErrSettings)
	}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("kms: VAULT_ADDR must be the URL of the server, such as https://vault.example:8200: %w", kms.ErrSettings)
	}
	client.SetMaxRetries(0) // package kms tries again
	if s.Token != "" {
		client.SetToken(s.Token)
	}
	return client, nil
}

// safe reports whether the token may be sent to an address: not in the clear, but on this host.
func safe(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.User != nil {
		return false
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" && u.Host != "" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip.IsLoopback()) || u.Scheme == "unix"
}

// key is a key of transit.
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
func (k *key) RenewCredentials(ctx context.Context, log *slog.Logger) { k.token.keep(ctx, log) }

// DescribeCredentials implements kms.CredentialRenewer.
func (k *key) DescribeCredentials(ctx context.Context) string { return k.token.describe(ctx) }

func (k *key) Advice() string {
	if over := k.token.over(); !over.IsZero() {
		return "the token of Vault, whose life ended at " + over.UTC().Format(timeShown) + " and could not be renewed: write another one into VAULT_TOKEN_FILE, " +
			"or start again with another VAULT_TOKEN"
	}
	return fmt.Sprintf("that VAULT_TOKEN is right and has not expired, and that its policy grants update on %[1]s/encrypt/%[2]s and %[1]s/decrypt/%[2]s "+
		"and read on %[1]s/keys/%[2]s", k.mount, k.name)
}

func (k *key) Encrypt(ctx context.Context, plain, additionalData []byte) ([]byte, string, error) {
	about, err := k.read(ctx)
	if err != nil {
		return nil, "", err
	}
	identity, ok := about.identity(about.Latest)
	if !ok {
		return nil, "", fmt.Errorf("%w (not a symmetric key with associated data)", kms.ErrKeyGone)
	}
	secret, err := k.write(ctx, k.mount+"/encrypt/"+k.name, map[string]any{
		"plaintext":       base64.StdEncoding.EncodeToString(plain),
		"associated_data": associated(identity, additionalData),
		"key_version":     about.Latest,
	})
	if err != nil {
		return nil, "", fault(err)
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
		"associated_data": associated(identity, additionalData),
	})
	if refused(err) {
		return nil, k.why(ctx, identity)
	}
	if err != nil {
		return nil, fault(err)
	}
	plain, err := base64.StdEncoding.DecodeString(text(secret, "plaintext"))
	if err != nil || secret == nil {
		return nil, kms.ErrUnavailable
	}
	return plain, nil
}

func (k *key) write(ctx context.Context, path string, data map[string]any) (*api.Secret, error) {
	return k.token.ask(func() (*api.Secret, error) {
		return k.vault.WriteWithContext(ctx, path, data)
	})
}

// why says for what reason transit refused to decrypt; it answers 400 to all of them.
func (k *key) why(ctx context.Context, identity string) error {
	about, err := k.read(ctx)
	if err != nil {
		return err
	}
	var version int
	var made int64
	if _, err := fmt.Sscanf(identity, "v%d@%d", &version, &made); err != nil {
		return envelope.ErrAuthentication
	}
	now, ok := about.identity(version)
	switch {
	case ok && now == identity && version < about.MinDecryption:
		return fmt.Errorf("%w (version %d is below min_decryption_version)", kms.ErrKeyGone, version)
	case ok && now == identity:
		return envelope.ErrAuthentication
	}
	return kms.ErrRecreated
}

// about is what transit tells of a key.
type about struct {
	Keys          map[string]json.RawMessage `json:"keys"` // by version: when a symmetric key was made, in Unix seconds
	Latest        int                        `json:"latest_version"`
	MinDecryption int                        `json:"min_decryption_version"`
}

func (a *about) identity(version int) (string, bool) {
	made, err := strconv.ParseInt(string(a.Keys[strconv.Itoa(version)]), 10, 64)
	return fmt.Sprintf("v%d@%d", version, made), err == nil
}

func (k *key) read(ctx context.Context) (*about, error) {
	secret, err := k.token.ask(func() (*api.Secret, error) {
		return k.vault.ReadWithContext(ctx, k.mount+"/keys/"+k.name)
	})
	if err != nil {
		return nil, fault(err)
	}
	if secret == nil { // 404
		return nil, kms.ErrKeyGone
	}
	var a about
	content, err := json.Marshal(secret.Data)
	if err != nil || json.Unmarshal(content, &a) != nil {
		return nil, kms.ErrUnavailable
	}
	return &a, nil
}

// associated binds the identity too: length (2) || identity || additional data.
func associated(identity string, additionalData []byte) string {
	bound := append(binary.BigEndian.AppendUint16(nil, uint16(len(identity))), identity...)
	return base64.StdEncoding.EncodeToString(append(bound, additionalData...))
}

func text(secret *api.Secret, name string) string {
	if secret == nil {
		return ""
	}
	s, _ := secret.Data[name].(string)
	return s
}

func refused(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest
}

func denied(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden)
}

// fault is what an error of the SDK means. Its text may quote the request, so nothing but the status is kept.
func fault(err error) error {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return fmt.Errorf("%w (Vault cannot be reached: check VAULT_ADDR)", kms.ErrUnavailable)
	}
	sentinel := kms.ErrUnavailable
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden: // as denied has it
		sentinel = kms.ErrDenied
	case http.StatusTooManyRequests:
		sentinel = kms.ErrThrottled
	case http.StatusBadRequest, http.StatusNotFound:
		sentinel = kms.ErrKeyGone
	}
	return fmt.Errorf("%w (Vault answers %d)", sentinel, answer.StatusCode)
}
