package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
)

// The limits beyond which the doctor warns.
const (
	expirySoon       = 14 * duration.Day
	unusedTokenAge   = 90 * duration.Day
	maxBackupAge     = 8 * duration.Day
	maxDrillAge      = 100 * duration.Day
	slowWrapTime     = 500 * time.Millisecond
	proofInterval    = 5 * time.Millisecond // leaves time for the servers' calls of the KMS
	maxNamedFailures = 10
)

func checkTokens(ctx context.Context, p *installation) []finding {
	k, found := p.openKeys(ctx)
	if k == nil {
		return found
	}
	defer func() { _ = k.close() }() // it was only read
	system, err := k.ring.FindSystem(ctx)
	if err != nil {
		return []finding{failureFinding("", "%s", errorText(k.explain(err, p.config)))}
	}
	tokens, err := token.NewRegistry(k.store, system).List(ctx)
	if err != nil {
		return []finding{failureFinding("", "%s", errorText(err))}
	}
	return judgeTokens(tokens, p.now)
}

func judgeTokens(tokens []token.Token, now time.Time) (found []finding) {
	if len(tokens) == 0 {
		return []finding{warningFinding("create one by coffer token create", "there is no token")}
	}
	of := func(t *token.Token) string { return t.ID + " " + strconv.Quote(t.Name) }
	for i := range tokens {
		t := &tokens[i]
		used := t.LastUsedAt
		if used.IsZero() {
			used = t.CreatedAt
		}
		switch left := t.ExpiresAt.Sub(now); {
		case t.Altered:
			found = append(found, failureFinding("see coffer audit verify, then coffer token revoke", "%s is altered in the keystore", quoteTokenID(t.ID)))
		case !t.ExpiresAt.IsZero() && left <= 0:
			found = append(found, warningFinding("coffer token revoke "+t.ID, "%s has expired", of(t)))
		case !t.ExpiresAt.IsZero() && left < expirySoon:
			found = append(found, warningFinding("create another one for its users", "%s expires at %s", of(t), formatTime(t.ExpiresAt, "")))
		case t.ExpiresAt.IsZero() && t.Scopes == identity.AllScopes:
			found = append(found, warningFinding("give each user a token with the scopes that it needs, and revoke this one", "%s has every scope, and never expires", of(t)))
		case t.ExpiresAt.IsZero() && t.Tenant == identity.EveryTenant:
			found = append(found, warningFinding("replace it by one that expires", "%s administers every tenant, and never expires", of(t)))
		case now.Sub(used) > unusedTokenAge:
			found = append(found, warningFinding("coffer token revoke "+t.ID, "%s was not used for %s", of(t), duration.Format(now.Sub(used).Truncate(duration.Day))))
		}
	}
	if len(found) == 0 {
		found = append(found, okFinding("%d", len(tokens)))
	}
	return found
}

func checkKMS(ctx context.Context, p *installation) (found []finding) {
	if p.kekErr != nil {
		return []finding{failureFinding("", "%s", errorText(p.kekErr))}
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	for _, kek := range p.keks.All() {
		proof, err := kms.Check(ctx, kek, p.config.Environment)
		switch {
		case err != nil:
			found = append(found, failureFinding("", "%s", errorText(err)))
		case proof.Wrap > slowWrapTime || proof.Unwrap > slowWrapTime:
			found = append(found, warningFinding("use a nearby region: unlocking a tenant's keys waits for it", "%s is slow: wrap %s, unwrap %s", kek.URL(),
				roundDuration(proof.Wrap), roundDuration(proof.Unwrap)))
		default:
			found = append(found, okFinding("%s: wrap %s, unwrap %s", kek.URL(), roundDuration(proof.Wrap), roundDuration(proof.Unwrap)))
		}
	}
	return found
}

// checkKeysets opens every keyset with the KEKs, as coffer keys drill does for a backup.
func checkKeysets(ctx context.Context, p *installation) []finding {
	k, found := p.openKeys(ctx)
	if k == nil {
		return found
	}
	defer func() { _ = k.close() }() // it was only read
	if err := k.requireKeysets(ctx, p.config); err != nil {
		return []finding{failureFinding("", "%s", errorText(err))}
	}
	return p.proveKeysets(ctx, k)
}

// openKeys opens the keyring, or returns findings instead. It creates nothing.
func (p *installation) openKeys(ctx context.Context) (*keys, []finding) {
	if p.kekErr != nil {
		return nil, []finding{failureFinding("", "they cannot be opened without the KEK")}
	}
	c := p.config
	if c.Keys.Redis == "" && !exists(keysDir(c)) {
		if hadKeysets(c) || exists(auditPath(c)) {
			return nil, []finding{failureFinding("", "%s", errorText(missingKeysError(c, keysDir(c))))}
		}
		return nil, []finding{okFinding("there are none yet")}
	}
	k := &keys{keks: p.keks}
	var err error
	if k.store, k.location, k.closeStore, err = openKeystore(ctx, c, discardLog()); err != nil {
		return nil, []finding{failureFinding("", "%s", errorText(err))}
	}
	if k.ring, err = keyring.New(k.store, k.keks, c.Environment); err != nil {
		return nil, []finding{failureFinding("", "%s", errorText(errors.Join(err, k.closeStore())))}
	}
	return k, nil
}

func (p *installation) proveKeysets(ctx context.Context, k *keys) (found []finding) {
	if system, err := k.ring.FindSystem(ctx); err != nil {
		found = append(found, failureFinding("", "%s", errorText(k.explain(err, p.config))))
	} else if held, err := hasKeysets(ctx, k.store); system == nil && held && err == nil {
		found = append(found, failureFinding("", "%s", errorText(errSystemKeysMissing)))
	}
	total := 0
	for range k.ring.Documents(ctx) {
		total++
	}
	done, opened, shredded := 0, 0, 0
	for d, err := range k.ring.Documents(ctx) {
		if err == nil {
			_, _, err = k.ring.VerifyDocument(ctx, d)
		}
		if ctx.Err() != nil {
			return append(found, failureFinding("run it again", "interrupted after %d of %d keysets", done, total))
		}
		done++
		switch {
		case err != nil && len(found) < maxNamedFailures:
			found = append(found, failureFinding("restore them by coffer keys restore", "%s", errorText(k.explain(err, p.config))))
		case err == nil && d.Shredded():
			shredded++
		case err == nil:
			opened++
		}
		if p.progress != nil {
			p.progress(min(done, total), total)
		}
		select {
		case <-ctx.Done():
		case <-time.After(proofInterval):
		}
	}
	if len(found) == 0 {
		found = append(found, okFinding("the keysets of all %d tenants open; %d tenants are shredded", opened, shredded))
	}
	return found
}
