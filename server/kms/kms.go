// Package kms opens key encryption keys (KEKs): what wraps the root of each tenant's keys, and nothing else.
//
// A [KEK] stands for a key that is elsewhere, in a cloud's KMS or in the operator's hands. What every
// implementation guarantees is that a wrapped key unwraps under the same KEK and the same additional data
// only, and that neither its URL nor an error of it holds a secret. Package kmstest is the suite that holds
// them to that.
package kms

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"

	"github.com/coffer-storage/coffer/shared/envelope"
)

// KEK wraps keys. It is safe for concurrent use.
type KEK interface {
	// Wrap encrypts a key of at most 1 KiB. additionalData is authenticated where the KMS can do that.
	Wrap(ctx context.Context, key, additionalData []byte) ([]byte, error)
	// Unwrap is the inverse of Wrap. It returns ErrWrongKey for what another KEK wrapped,
	// envelope.ErrAuthentication for what was altered or is bound to other additional data (a KMS may be
	// unable to tell these three apart, and then says either), and an error that Unusable knows where the KMS
	// did not do it.
	Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error)
	// URL names the KEK in a keyset document, without any secret.
	URL() string
}

// maxKey is the longest key that a KEK wraps, in bytes: a root with its binding.
const maxKey = 1024

// Provider opens KEKs in one kind of KMS. It is given to Open, so that a program links those it wants.
type Provider struct {
	Scheme string
	// Open takes a URL of the scheme. It does not connect: an outage is for the first call to tell.
	Open func(ctx context.Context, u *url.URL) (KEK, error)
}

// Open opens the KEK of a URL:
//
//	base64key://<32 bytes in base64, standard or URL-safe>
//	file:///path/of/a/file that holds such a base64 and that only its owner may read (mode 0600 or stricter)
//
// and those of the providers. It returns ErrURL with the reason, never with the key.
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
		return nil, fmt.Errorf("kms: a KEK's URL is one of %s, with special characters percent-encoded: %w", schemes(providers), ErrURL)
	case scheme == "file":
		if u.Host != "" || u.Path == "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("kms: a key file's URL is file:// and an absolute path, with special characters percent-encoded: %w", ErrURL)
		}
		return OpenFile(u.Path)
	}
	for _, p := range providers {
		if p.Scheme != scheme {
			continue
		}
		if err != nil || u.User != nil || u.Fragment != "" || len(rawURL) > envelope.MaxURL {
			return nil, fmt.Errorf("kms: a %s:// URL has no user, password and fragment, and at most %d bytes: %w", scheme, envelope.MaxURL, ErrURL)
		}
		return p.Open(ctx, u)
	}
	return nil, fmt.Errorf("kms: unknown scheme; known are %s: %w", schemes(providers), ErrURL)
}

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

// decodeKey reads 32 bytes of base64 in either alphabet, padded or not.
func decodeKey(text string) ([]byte, error) {
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	return base64.RawURLEncoding.Strict().DecodeString(text)
}
