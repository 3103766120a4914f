package hashivault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/server/kms"
)

const (
	fileInterval  = time.Second      // between two checks of the token file
	minInterval   = time.Second      // between two renewals; Vault counts in seconds
	retryInterval = time.Minute      // after a failure, at most
	idleInterval  = time.Hour        // if the token does not expire, or its expiry is unknown
	renewTimeout  = 10 * time.Second // of a lookup and a renewal
	maxTokenFile  = 64 << 10         // bytes
	timeLayout    = time.RFC3339
)

// token is the current token of a client. It is safe for concurrent use.
type token struct {
	client *api.Client
	path   string // of the token file; empty if there is none

	mu       sync.Mutex
	file     fs.FileInfo // of the token file when it was read last
	validity validity
}

// validity is how long a token is valid.
type validity struct {
	expiry    time.Time     // zero if the token does not expire, or its expiry is unknown
	fullTTL   time.Duration // of a renewed token, unless its maximum TTL is near
	renewable bool
}

// newToken sets the token of the client from the token file, if there is one.
func newToken(client *api.Client, path string) (*token, error) {
	t := &token{client: client, path: path}
	if path != "" && !t.reload(true) && t.file == nil {
		return nil, fmt.Errorf("kms: VAULT_TOKEN_FILE must be the path of a file with the token that this process can read: %w", kms.ErrSettings)
	}
	return t, nil
}

// reload reads the token file if it has changed, or always, and reports whether the token has changed. If the file
// cannot be read, for instance while it is being replaced, reload keeps the token.
func (t *token) reload(always bool) (changed bool) {
	if t.path == "" {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err != nil || !always && t.file != nil && durable.Unchanged(info, t.file) {
		return false
	}
	text, err := readFile(t.path)
	if err != nil || text == "" {
		return false
	}
	t.file = info
	if text == t.client.Token() {
		return false
	}
	t.client.SetToken(text)
	t.validity = validity{}
	return true
}

func readFile(path string) (string, error) {
	file, err := durable.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxTokenFile))
	return strings.TrimSpace(string(content)), err
}

// call calls do, and again if Vault denies access and the token has changed in the meantime.
func (t *token) call(do func() (*api.Secret, error)) (*api.Secret, error) {
	t.reload(false)
	for {
		before := t.client.Token()
		secret, err := do()
		if denied(err) && (t.reload(true) || t.client.Token() != before) {
			continue
		}
		return secret, err
	}
}

// renewUntil renews the token, and each new token in the token file, until ctx ends.
func (t *token) renewUntil(ctx context.Context, log *slog.Logger) {
	renewed, next := "", time.Now()
	for {
		t.reload(false)
		if now := t.client.Token(); now != renewed || !time.Now().Before(next) {
			wait := t.renewOnce(ctx, log, now != renewed)
			renewed, next = now, time.Now().Add(max(wait, minInterval))
		}
		wait := time.Until(next)
		if t.path != "" {
			wait = min(wait, fileInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// renewOnce renews the token if it is renewable, and logs a warning if it will expire. It returns how long to wait
// before the next renewal: half of the remaining time.
func (t *token) renewOnce(ctx context.Context, log *slog.Logger, first bool) (wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	now, err := t.lookup(ctx)
	forbidden := errors.Is(err, kms.ErrDenied) // or the token is not valid
	if forbidden {
		now = t.getValidity()
		now.renewable = true
	} else if err != nil {
		return t.logFailure(log, err)
	}
	if !forbidden && now.expiry.IsZero() {
		return idleInterval
	}
	reason := "it is not renewable"
	if now.renewable {
		reason = "its maximum TTL is reached"
		now, err = t.renew(ctx, now)
	}
	if errors.Is(err, kms.ErrDenied) && !forbidden {
		reason, now.renewable, err = "its policy does not grant auth/token/renew-self", false, nil
	}
	left := time.Until(now.expiry)
	switch {
	case err != nil && forbidden && now.expiry.IsZero():
		log.Warn("the token of Vault is not renewed, and its expiry is unknown: its policy does not grant auth/token/lookup-self and auth/token/renew-self, or it is not valid")
		return idleInterval
	case err != nil:
		return t.logFailure(log, err)
	case !now.renewable || left < now.fullTTL-minInterval:
		log.Warn("the token of Vault expires and cannot be renewed: write a new token to VAULT_TOKEN_FILE, or restart with a new VAULT_TOKEN",
			"ends", now.expiry.UTC().Format(timeLayout), "reason", reason)
	case first:
		log.Info("the token of Vault is renewed before it expires", "ends", now.expiry.UTC().Format(timeLayout))
	}
	return left / 2
}

// logFailure logs a failed renewal, and returns how long to wait before the next one.
func (t *token) logFailure(log *slog.Logger, err error) time.Duration {
	expiry := t.getValidity().expiry
	if expiry.IsZero() {
		log.Warn("the lookup of the token of Vault failed and will be retried", "error", err)
		return retryInterval
	}
	log.Warn("the renewal of the token of Vault failed and will be retried", "error", err, "ends", expiry.UTC().Format(timeLayout))
	if left := time.Until(expiry); left > 0 {
		return min(left/2, retryInterval)
	}
	return retryInterval
}

func (t *token) getValidity() validity {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.validity
}

// setValidity sets the validity of a token, unless the token has changed.
func (t *token) setValidity(of string, now validity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client.Token() == of {
		t.validity = now
	}
}

// lookup asks Vault how long the token is valid.
func (t *token) lookup(ctx context.Context) (validity, error) {
	of := t.client.Token()
	secret, err := t.client.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil {
		return validity{}, kmsError(err)
	}
	ttl, err := secret.TokenTTL()
	renewable, err2 := secret.TokenIsRenewable()
	if secret == nil || errors.Join(err, err2) != nil {
		return validity{}, kms.ErrUnavailable
	}
	now := validity{renewable: renewable, fullTTL: max(seconds(secret.Data["creation_ttl"]), seconds(secret.Data["period"]))}
	if ttl > 0 || secret.Data["expire_time"] != nil {
		now.expiry = time.Now().Add(ttl)
	}
	t.setValidity(of, now)
	return now, nil
}

// renew asks for the full TTL of the token. Vault grants less if the maximum TTL is near.
func (t *token) renew(ctx context.Context, before validity) (validity, error) {
	of := t.client.Token()
	secret, err := t.client.Auth().Token().RenewSelfWithContext(ctx, int(before.fullTTL/time.Second))
	if refused(err) { // such as a token that cannot be renewed
		before.renewable = false
		return before, nil
	}
	if err != nil {
		return before, kmsError(err)
	}
	if secret == nil || secret.Auth == nil {
		return before, kms.ErrUnavailable
	}
	ttl := time.Duration(secret.Auth.LeaseDuration) * time.Second
	now := validity{expiry: time.Now().Add(ttl), fullTTL: max(before.fullTTL, ttl), renewable: secret.Auth.Renewable}
	t.setValidity(of, now)
	return now, nil
}

// seconds returns a number of seconds in an answer of Vault; 0 if it is not a number.
func seconds(number any) time.Duration {
	n, _ := number.(json.Number)
	s, _ := n.Int64()
	return time.Duration(s) * time.Second
}

// expiredAt returns when the token expired. It is zero if the token has not expired, or its expiry is unknown.
func (t *token) expiredAt() time.Time {
	if expiry := t.getValidity().expiry; !expiry.IsZero() && time.Now().After(expiry) {
		return expiry
	}
	return time.Time{}
}

// describe describes for people how long the token is valid.
func (t *token) describe(ctx context.Context) string {
	now, err := t.lookup(ctx)
	switch {
	case errors.Is(err, kms.ErrDenied):
		return "a token with an unknown expiry: its policy does not grant auth/token/lookup-self"
	case err != nil:
		return ""
	case now.expiry.IsZero():
		return "a token that does not expire"
	case now.renewable:
		return "a token that expires at " + now.expiry.UTC().Format(timeLayout) + " unless a server renews it"
	}
	return "a token that expires at " + now.expiry.UTC().Format(timeLayout) + " and cannot be renewed"
}
