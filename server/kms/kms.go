// Package kms opens key encryption keys (KEKs). A KEK wraps the root of each tenant's keys, and nothing else.
//
// [Open] opens the KEK of a URL. It knows local keys (base64key:// and file://) and the KMSs of the providers that it
// is given: packages awskms, azurekeyvault, gcpkms and hashivault. [NewLocal] and [NewPassphrase] make a local KEK of a
// master key or a passphrase.
//
// Every KEK guarantees that a wrapped key unwraps only under the same KEK and with the same additional data, and that
// its URL and its errors contain no secret. Package kmstest tests this. SPEC.md specifies the wrapped bytes.
package kms

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"

	"github.com/coffer-storage/coffer/shared/envelope"
)

// KEK wraps and unwraps keys. It is safe for concurrent use. Wrap and Unwrap return ctx.Err() if ctx is cancelled.
type KEK interface {
	// Wrap encrypts a key of at most 1 KiB. It authenticates additionalData if the KMS can. It returns
	// envelope.ErrTooLarge for a longer key.
	Wrap(ctx context.Context, key, additionalData []byte) ([]byte, error)
	// Unwrap decrypts a wrapped key. It returns ErrWrongKey if another KEK wrapped it, and envelope.ErrAuthentication
	// if it was altered or has other additional data. A KMS that cannot distinguish these cases returns either. For
	// other errors, Unusable returns true.
	Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error)
	// URL identifies the KEK in keyset documents and errors. It contains no secret.
	URL() string
}

// maxKeySize is the size of the longest key that a KEK wraps, in bytes.
const maxKeySize = 1024

// Provider opens the KEKs of one kind of KMS. A program links only the SDKs of the providers that it passes to Open.
type Provider struct {
	Scheme string // of the URLs, such as awskms
	// Open opens the KEK of a URL with the scheme. It does not contact the KMS, so the first Wrap or Unwrap reports an
	// outage. It returns ErrURL or ErrSettings.
	Open func(ctx context.Context, u *url.URL) (KEK, error)
}

// Open opens the KEK of a URL. Besides those of the providers, the URLs are
//
//	base64key://KEY    where KEY is 32 bytes in base64, standard or URL-safe
//	file:///PATH       where the file contains such a KEY, and only its owner may read it (mode 0600 or stricter)
//
// Open does not contact a KMS. It returns ErrURL or ErrSettings, wrapped with the reason, and never the key.
func Open(ctx context.Context, rawURL string, providers ...Provider) (KEK, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if ok && scheme == "base64key" {
		return openBase64(rest)
	}
	u, err := url.Parse(rawURL)
	switch {
	case !ok || scheme == "file" && err != nil:
		return nil, fmt.Errorf("kms: the URL of a KEK begins with %s, with special characters percent-encoded: %w", schemes(providers), ErrURL)
	case scheme == "file":
		if u.Host != "" || u.Path == "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("kms: the URL of a key file is file:// and an absolute path, with special characters percent-encoded: %w", ErrURL)
		}
		return OpenFile(u.Path)
	}
	for _, p := range providers {
		if p.Scheme != scheme {
			continue
		}
		if err != nil || u.User != nil || u.Fragment != "" || len(rawURL) > envelope.MaxURL {
			return nil, fmt.Errorf("kms: a %s:// URL has no user, password or fragment, and at most %d bytes: %w", scheme, envelope.MaxURL, ErrURL)
		}
		return p.Open(ctx, u)
	}
	return nil, fmt.Errorf("kms: no provider for this scheme: pass the provider as an argument, or use one of %s: %w", schemes(providers), ErrURL)
}

// schemes lists the schemes that Open knows, for errors.
func schemes(providers []Provider) string {
	text := "base64key://, file://"
	for _, p := range providers {
		text += ", " + p.Scheme + "://"
	}
	return text
}

func openBase64(text string) (KEK, error) {
	key, err := decodeKey(text)
	if err != nil {
		return nil, fmt.Errorf("kms: base64key:// takes 32 bytes in base64: %w", ErrURL)
	}
	defer clear(key)
	kek, err := NewLocal(key)
	if err != nil {
		return nil, fmt.Errorf("kms: base64key:// takes 32 bytes in base64: %w", ErrURL)
	}
	return kek, nil
}

// decodeKey decodes base64 in either alphabet, with or without padding.
func decodeKey(text string) ([]byte, error) {
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	return base64.RawURLEncoding.Strict().DecodeString(text)
}
