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
	look      = time.Second      // between two looks at the file of the token
	soonest   = time.Second      // before the token is looked at again; Vault counts its life in seconds
	retry     = time.Minute      // after a failure, at the latest
	idle      = time.Hour        // where nothing is known to end
	keepTime  = 10 * time.Second // of one look at the token and its renewal
	maxToken  = 64 << 10         // bytes of the file
	timeShown = time.RFC3339
)

// token is what asks Vault, as it is now. It is safe for concurrent use.
type token struct {
	client *api.Client
	path   string // of the file that it is in; empty where it is given once and for all

	mu   sync.Mutex
	seen fs.FileInfo // the file as it was read last
	life life
}

// life is what is known of a token's.
type life struct {
	ends      time.Time // the zero time where it has no end, or none is known
	whole     time.Duration
	renewable bool
}

// newToken has the client use the token in the file, if there is one.
func newToken(client *api.Client, path string) (*token, error) {
	t := &token{client: client, path: path}
	if path != "" && !t.read(true) && t.seen == nil {
		return nil, fmt.Errorf("kms: VAULT_TOKEN_FILE must name a file with the token that this process can read: %w", kms.ErrSettings)
	}
	return t, nil
}

// read takes the token from the file where that is another file than before, or in any case, and reports
// whether it is another token. A file that cannot be read, as in the midst of being replaced, leaves the
// token as it is.
func (t *token) read(always bool) (another bool) {
	if t.path == "" {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err != nil || !always && t.seen != nil && durable.Unchanged(info, t.seen) {
		return false
	}
	text, err := readFile(t.path)
	if err != nil || text == "" {
		return false
	}
	t.seen = info
	if text == t.client.Token() {
		return false
	}
	t.client.SetToken(text)
	t.life = life{}
	return true
}

func readFile(path string) (string, error) {
	file, err := durable.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxToken))
	return strings.TrimSpace(string(content)), err
}

// ask makes a call of Vault, and again where it is denied and the file holds another token by now.
func (t *token) ask(call func() (*api.Secret, error)) (*api.Secret, error) {
	t.read(false)
	for {
		before := t.client.Token()
		secret, err := call()
		if denied(err) && (t.read(true) || t.client.Token() != before) {
			continue
		}
		return secret, err
	}
}

// keep renews the token, and each one that comes after it, until ctx ends.
func (t *token) keep(ctx context.Context, log *slog.Logger) {
	tended, next := "", time.Now()
	for {
		t.read(false)
		if now := t.client.Token(); now != tended || !time.Now().Before(next) {
			wait := t.tend(ctx, log, now != tended)
			tended, next = now, time.Now().Add(max(wait, soonest))
		}
		wait := time.Until(next)
		if t.path != "" {
			wait = min(wait, look)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// tend renews the token where that can be done, tells the log where it will end, and says when to tend it
// again: when half of what it has left is over.
func (t *token) tend(ctx context.Context, log *slog.Logger, first bool) (wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, keepTime)
	defer cancel()
	now, err := t.lookup(ctx)
	forbidden := errors.Is(err, kms.ErrDenied) // or the token is no longer one
	if forbidden {
		now = t.known()
		now.renewable = true
	} else if err != nil {
		return t.failed(log, err)
	}
	if !forbidden && now.ends.IsZero() {
		return idle
	}
	reason := "it is not renewable"
	if now.renewable {
		reason = "its longest life is reached"
		now, err = t.renew(ctx, now)
	}
	if errors.Is(err, kms.ErrDenied) && !forbidden {
		reason, now.renewable, err = "its policy does not grant auth/token/renew-self", false, nil
	}
	left := time.Until(now.ends)
	switch {
	case err != nil && forbidden && now.ends.IsZero():
		log.Warn("nothing renews the token of Vault, and its end is not known: its policy does not grant auth/token/lookup-self and auth/token/renew-self, or it is not valid")
		return idle
	case err != nil:
		return t.failed(log, err)
	case !now.renewable || left < now.whole-soonest:
		log.Warn("the token of Vault ends and cannot be renewed beyond that: write another one into VAULT_TOKEN_FILE, or start again with another VAULT_TOKEN",
			"ends", now.ends.UTC().Format(timeShown), "reason", reason)
	case first:
		log.Info("the token of Vault is renewed before it ends", "ends", now.ends.UTC().Format(timeShown))
	}
	return left / 2
}

// failed tells the log, and has the token tended again soon.
func (t *token) failed(log *slog.Logger, err error) time.Duration {
	ends := t.known().ends
	if ends.IsZero() {
		log.Warn("the token of Vault could not be looked at, which is tried again", "error", err)
		return retry
	}
	log.Warn("the token of Vault could not be renewed, which is tried again", "error", err, "ends", ends.UTC().Format(timeShown))
	if left := time.Until(ends); left > 0 {
		return min(left/2, retry)
	}
	return retry
}

func (t *token) known() life {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.life
}

// remember keeps what is known of the token, unless it is another one by now.
func (t *token) remember(of string, now life) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client.Token() == of {
		t.life = now
	}
}

// lookup asks Vault how long the token lives.
func (t *token) lookup(ctx context.Context) (life, error) {
	of := t.client.Token()
	secret, err := t.client.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil {
		return life{}, fault(err)
	}
	ttl, err := secret.TokenTTL()
	renewable, err2 := secret.TokenIsRenewable()
	if secret == nil || errors.Join(err, err2) != nil {
		return life{}, kms.ErrUnavailable
	}
	now := life{renewable: renewable, whole: max(seconds(secret.Data["creation_ttl"]), seconds(secret.Data["period"]))}
	if ttl > 0 || secret.Data["expire_time"] != nil {
		now.ends = time.Now().Add(ttl)
	}
	t.remember(of, now)
	return now, nil
}

// renew asks for as much life as the token was made with. Vault gives less where its end has come near.
func (t *token) renew(ctx context.Context, before life) (life, error) {
	of := t.client.Token()
	secret, err := t.client.Auth().Token().RenewSelfWithContext(ctx, int(before.whole/time.Second))
	if refused(err) { // such as a token that cannot be renewed
		before.renewable = false
		return before, nil
	}
	if err != nil {
		return before, fault(err)
	}
	if secret == nil || secret.Auth == nil {
		return before, kms.ErrUnavailable
	}
	ttl := time.Duration(secret.Auth.LeaseDuration) * time.Second
	now := life{ends: time.Now().Add(ttl), whole: max(before.whole, ttl), renewable: secret.Auth.Renewable}
	t.remember(of, now)
	return now, nil
}

func seconds(number any) time.Duration {
	n, _ := number.(json.Number)
	s, _ := n.Int64() // of what is no number: 0
	return time.Duration(s) * time.Second
}

// over is when the token ended; the zero time where it has not, or that is not known.
func (t *token) over() time.Time {
	if ends := t.known().ends; !ends.IsZero() && time.Now().After(ends) {
		return ends
	}
	return time.Time{}
}

// describe says how long the token lives.
func (t *token) describe(ctx context.Context) string {
	now, err := t.lookup(ctx)
	switch {
	case errors.Is(err, kms.ErrDenied):
		return "a token whose end is not known: its policy does not grant auth/token/lookup-self"
	case err != nil:
		return ""
	case now.ends.IsZero():
		return "a token without an end"
	case now.renewable:
		return "a token until " + now.ends.UTC().Format(timeShown) + ", which a server renews"
	}
	return "a token until " + now.ends.UTC().Format(timeShown) + ", which cannot be renewed"
}
