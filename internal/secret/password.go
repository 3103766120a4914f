package secret

import (
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

// ErrPassword means that a password is empty, is not valid UTF-8 or contains U+0000.
var ErrPassword = &codes.Error{ErrorCode: "invalid_argument", Message: "the password or passphrase is empty, is not valid UTF-8 or contains U+0000"}

// Password is a password or passphrase. Like a [Key], it is not printed.
type Password struct{ text string }

// NewPassword returns the password of a text in any normalisation form of Unicode. It returns ErrPassword if the text
// is empty, is not valid UTF-8 or contains U+0000: HMAC pads its keys with zeros, so "abc" and "abc\x00" would yield
// the same key.
func NewPassword(text string) (*Password, error) {
	if text == "" || !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return nil, ErrPassword
	}
	return &Password{norm.NFC.String(text)}, nil
}

// Key derives a key from the password, in Unicode normalisation form C, by PBKDF2-HMAC-SHA256. 600,000 iterations take
// about 0.2 s, so check iterations that come from outside before the call.
func (p *Password) Key(salt format.Salt, iterations uint32) (*Key, error) {
	b, err := PBKDF2(p.text, salt[:], int(iterations), format.KeySize)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return FromBytes(b)
}

// Format implements fmt.Formatter: every verb prints a placeholder.
func (p Password) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(placeholder)) }

// MarshalText implements encoding.TextMarshaler for log handlers and encoders.
func (p Password) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// Iterations returns the number of PBKDF2 iterations for new keys if n are configured: at least
// classify.MinWriteIterations, with a warning in the log if n is smaller. It returns classify.ErrIterations above
// classify.MaxIterations.
func Iterations(n uint32) (uint32, error) {
	if n > classify.MaxIterations {
		return 0, classify.ErrIterations
	}
	if n < classify.MinWriteIterations {
		slog.Warn("the configured PBKDF2 iterations are below the minimum and were raised to it", "configured", n, "used", classify.MinWriteIterations)
	}
	return max(n, classify.MinWriteIterations), nil
}
