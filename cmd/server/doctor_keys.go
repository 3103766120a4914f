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

// The limits from which the doctor warns.
const (
	soonExpires   = 14 * duration.Day
	unusedToken   = 90 * duration.Day
	oldBackup     = 8 * duration.Day
	oldDrill      = 100 * duration.Day
	slowWrap      = 500 * time.Millisecond
	betweenProofs = 5 * time.Millisecond // so that servers' calls of the KMS come first
	namedFailures = 10
)

func examineTokens(ctx context.Context, p *patient) []finding {
	k, found := p.openKeys(ctx)
	if k == nil {
		return found
	}
	defer func() { _ = k.close() }() // it was only read
	system, err := k.ring.FindSystem(ctx)
	if err != nil {
		return []finding{failing("", "%s", message(k.explain(err, p.config)))}
	}
	tokens, err := token.NewRegistry(k.store, system).List(ctx)
	if err != nil {
		return []finding{failing("", "%s", message(err))}
	}
	return judgeTokens(tokens, p.now)
}

func judgeTokens(tokens []token.Token, now time.Time) (found []finding) {
	if len(tokens) == 0 {
		return []finding{warning("coffer token create makes one", "there is no token")}
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
			found = append(found, failing("see coffer audit verify, then coffer token revoke", "%s is altered in the keystore", shownID(t.ID)))
		case !t.ExpiresAt.IsZero() && left <= 0:
			found = append(found, warning("coffer token revoke "+t.ID, "%s has expired", of(t)))
		case !t.ExpiresAt.IsZero() && left < soonExpires:
			found = append(found, warning("make another one, and give it to its users", "%s expires at %s", of(t), shown(t.ExpiresAt, "")))
		case t.ExpiresAt.IsZero() && t.Scopes == identity.AllScopes:
			found = append(found, warning("give each user a token with the scopes that it needs, and revoke this one", "%s has every scope, and never expires", of(t)))
		case t.ExpiresAt.IsZero() && t.Tenant == identity.EveryTenant:
			found = append(found, warning("make one that expires instead", "%s administers every tenant, and never expires", of(t)))
		case now.Sub(used) > unusedToken:
			found = append(found, warning("coffer token revoke "+t.ID, "%s was not used for %s", of(t), duration.Format(now.Sub(used).Truncate(duration.Day))))
		}
	}
	if len(found) == 0 {
		found = append(found, ok("%d", len(tokens)))
	}
	return found
}

func examineKMS(ctx context.Context, p *patient) (found []finding) {
	if p.kekErr != nil {
		return []finding{failing("", "%s", message(p.kekErr))}
	}
	ctx, cancel := context.WithTimeout(ctx, examineTimeout)
	defer cancel()
	for _, kek := range p.keks.All() {
		proof, err := kms.Check(ctx, kek, p.config.Environment)
		switch {
		case err != nil:
			found = append(found, failing("", "%s", message(err)))
		case proof.Wrap > slowWrap || proof.Unwrap > slowWrap:
			found = append(found, warning("use a region nearby: each tenant waits for it when its keys are unlocked", "%s is slow: wrap %s, unwrap %s", kek.URL(),
				brief(proof.Wrap), brief(proof.Unwrap)))
		default:
			found = append(found, ok("%s: wrap %s, unwrap %s", kek.URL(), brief(proof.Wrap), brief(proof.Unwrap)))
		}
	}
	return found
}

// examineKeysets has the KEKs open every keyset, as coffer keys drill does with those of a backup.
func examineKeysets(ctx context.Context, p *patient) []finding {
	k, found := p.openKeys(ctx)
	if k == nil {
		return found
	}
	defer func() { _ = k.close() }() // it was only read
	if err := k.requireKeysets(ctx, p.config); err != nil {
		return []finding{failing("", "%s", message(err))}
	}
	return p.prove(ctx, k)
}

// openKeys opens the keyring, or returns why it does not. It makes nothing.
func (p *patient) openKeys(ctx context.Context) (*keys, []finding) {
	if p.kekErr != nil {
		return nil, []finding{failing("", "they cannot be opened without the KEK")}
	}
	c := p.config
	if c.Keys.Redis == "" && !there(keysDir(c)) {
		if wasUsed(c) || there(auditPath(c)) {
			return nil, []finding{failing("", "%s", message(missingKeys(c, keysDir(c))))}
		}
		return nil, []finding{ok("there are none yet")}
	}
	k := &keys{keks: p.keks}
	var err error
	if k.store, k.where, k.free, err = openKeystore(ctx, c, quiet()); err != nil {
		return nil, []finding{failing("", "%s", message(err))}
	}
	if k.ring, err = keyring.New(k.store, k.keks, c.Environment); err != nil {
		return nil, []finding{failing("", "%s", message(errors.Join(err, k.free())))}
	}
	return k, nil
}

func (p *patient) prove(ctx context.Context, k *keys) (found []finding) {
	if system, err := k.ring.FindSystem(ctx); err != nil {
		found = append(found, failing("", "%s", message(k.explain(err, p.config))))
	} else if held, err := holdsKeys(ctx, k.store); system == nil && held && err == nil {
		found = append(found, failing("", "%s", message(errSystem)))
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
			return append(found, failing("run it again", "interrupted after %d of %d keysets", done, total))
		}
		done++
		switch {
		case err != nil && len(found) < namedFailures:
			found = append(found, failing("restore them by coffer keys restore", "%s", message(k.explain(err, p.config))))
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
		case <-time.After(betweenProofs):
		}
	}
	if len(found) == 0 {
		found = append(found, ok("all of %d tenants open; %d are shredded", opened, shredded))
	}
	return found
}
