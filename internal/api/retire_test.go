package api_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// endKeyResponse is the response of the operations disable, destroy and shred.
type endKeyResponse struct {
	Tenant, State, Warning, Confirmation string
	ExpiresAt                            string
	Changed, Shredded                    bool
	Keys                                 []struct{ Keys int }
}

// endKey sends a request to disable, destroy or shred, with an operator's token.
func (k *checker) endKey(verb string, body object) (got endKeyResponse) {
	k.t.Helper()
	answer := k.changeKeys(true, k.issue(identity.EveryTenant, identity.KeysAdmin), verb, body)
	require.NoError(k.t, json.Unmarshal(answer.body, &got))
	return got
}

// formerKey returns a key of packages that stopped being the primary long enough ago to be disabled.
func (s *service) formerKey(tenant string) object {
	s.t.Helper()
	keys, err := s.ring.Tenant(s.t.Context(), tenant)
	require.NoError(s.t, err)
	id, err := keys.Primary(context.Background(), format.UseService, classify.PHI)
	require.NoError(s.t, err)
	_, err = keys.Rotate(s.t.Context(), format.UseService, classify.PHI, nil)
	require.NoError(s.t, err)
	s.rotator.Now = func() time.Time { return time.Now().Add(s.ring.TTL() + 2*rotation.Margin) }
	return object{"tenant": tenant, "use": "service", "class": "phi", "key": hex.EncodeToString(id[:])}
}

// Disabling, destroying and shredding take two requests. The first event names the caller. A repeated request changes nothing
// and is recorded.
func conformEnding(t *testing.T, k *checker) {
	key := k.formerKey("ended")
	for _, step := range []struct{ verb, before, after string }{{"disable", "enabled", "disabled"}, {"destroy", "disabled", "destroyed"}} {
		body := key.with("reason", "policy")
		k.audit.take()
		plan := k.endKey(step.verb, body)
		require.Equal(t, []any{"ended", step.before, false}, []any{plan.Tenant, plan.State, plan.Changed})
		require.Contains(t, plan.Warning, "No scan sees")
		expires, err := time.Parse(time.RFC3339, plan.ExpiresAt)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(10*time.Minute), expires, time.Minute)
		require.Empty(t, k.audit.take())
		done := k.endKey(step.verb, body.with("confirm", plan.Confirmation))
		require.Equal(t, []any{step.after, true, "", ""}, []any{done.State, done.Changed, done.Warning, done.Confirmation})
		event := k.audit.take()[0]
		require.Equal(t, []string{"key." + step.verb, step.verb + "Key", "ended", "service", "policy"},
			[]string{event.Action.String(), event.Operation, event.Tenant, event.Facts[audit.FactUse], event.Facts[audit.FactReason]})
		require.NotEmpty(t, event.Subject)
		require.NotEmpty(t, event.RequestID)
		again := k.endKey(step.verb, body.with("confirm", plan.Confirmation))
		require.Equal(t, []any{step.after, false, ""}, []any{again.State, again.Changed, again.Confirmation})
		event = k.audit.take()[0]
		require.Equal(t, []string{"key." + step.verb, "already"}, []string{event.Action.String(), event.Facts[audit.FactPhase]})
	}
	sessions := "Bearer " + k.issue("ended", identity.CacheRead|identity.CacheWrite)
	var made struct{ ID string }
	require.NoError(t, json.Unmarshal(k.call(true, "POST", "/v1/sessions", []byte(`{"data":{}}`), "Content-Type", "application/json", "Authorization", sessions).body, &made))
	k.audit.take()
	plan := k.endKey("shred", object{"tenant": "ended"})
	require.Empty(t, k.audit.take())
	require.Equal(t, []any{"ended", false, false}, []any{plan.Tenant, plan.Shredded, plan.Changed})
	require.NotEmpty(t, plan.Keys)
	done := k.endKey("shred", object{"tenant": "ended", "reason": "incident", "confirm": plan.Confirmation})
	require.Equal(t, []any{true, true, ""}, []any{done.Shredded, done.Changed, done.Confirmation})
	event := k.audit.take()[0]
	require.Equal(t, []string{"tenant.shred", "shredTenant", "ended", "incident"}, []string{event.Action.String(), event.Operation, event.Tenant, event.Facts[audit.FactReason]})
	require.NotEmpty(t, event.Subject)
	again := k.endKey("shred", object{"tenant": "ended"})
	require.Equal(t, []any{true, false, ""}, []any{again.Shredded, again.Changed, again.Confirmation})
	require.Equal(t, "tenant.shred", k.audit.take()[0].Action.String())
	k.call(false, "GET", "/v1/session", nil, "Coffer-Session", made.ID, "Authorization", sessions).refused(t, "key_destroyed")
	k.call(false, "POST", "/v1/sessions", []byte(`{"data":{}}`), "Content-Type", "application/json", "Authorization", sessions).refused(t, "key_destroyed")
	k.call(false, "PUT", "/v1/cache/k?class=phi", []byte("v"), "Authorization", "Bearer "+k.issue("ended", identity.CacheWrite)).refused(t, "key_destroyed")
	k.changeKeys(false, k.issue(identity.EveryTenant, identity.KeysAdmin), "disable", key).refused(t, "key_destroyed")
}

// A confirmation is valid for one change only, for a limited time, and only while the keys are unchanged.
func TestConfirmationIsForOneChange(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	k := newChecker(t, s)
	operator := s.issue(identity.EveryTenant, identity.KeysAdmin)
	key, other := s.formerKey("clinic"), s.formerKey("other")
	plan := k.endKey("disable", key).Confirmation
	s.audit.take()
	stale := func(verb string, body object, confirmation string) {
		t.Helper()
		k.changeKeys(false, operator, verb, body.with("confirm", confirmation)).refused(t, "precondition_failed")
		require.Empty(t, s.audit.take(), "nothing was begun")
	}
	second, digest, _ := strings.Cut(plan, ".")
	for _, confirm := range []string{
		"", ".", "x", second, "." + digest, second + "." + digest[1:], second + ".x", "0." + digest, "99999999999999999999." + digest,
		k.endKey("shred", object{"tenant": "clinic"}).Confirmation, k.endKey("disable", other).Confirmation,
	} {
		stale("disable", key, confirm)
	}
	stale("shred", object{"tenant": "clinic"}, plan)
	d, err := s.ring.Document(t.Context(), "clinic")
	require.NoError(t, err)
	about := fmt.Sprint("service phi ", key["key"])
	for _, age := range []time.Duration{11 * time.Minute, -11 * time.Minute} {
		old, err := api.Confirmation("disableKey", about, d, time.Now().Add(-age))
		require.NoError(t, err)
		stale("disable", key, old)
	}
	another, err := api.Confirmation("destroyKey", about, d, time.Now())
	require.NoError(t, err)
	stale("disable", key, another)
	recent, err := api.Confirmation("disableKey", about, d, time.Now().Add(-9*time.Minute))
	require.NoError(t, err)
	tenant, err := s.ring.Tenant(t.Context(), "clinic")
	require.NoError(t, err)
	_, err = tenant.Primary(t.Context(), format.UseCache, classify.PII)
	require.NoError(t, err)
	stale("disable", key, recent)
	stale("disable", key, plan)
	d, err = s.ring.Document(t.Context(), "clinic")
	require.NoError(t, err)
	recent, err = api.Confirmation("disableKey", about, d, time.Now().Add(-9*time.Minute))
	require.NoError(t, err)
	require.True(t, k.endKey("disable", key.with("confirm", recent)).Changed)
}

// Only an operator can disable, destroy or shred. A key that is still needed is refused, and so is a key of the cache.
func TestRetireRefusesNeededKeys(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	k := newChecker(t, s)
	operator := s.issue(identity.EveryTenant, identity.KeysAdmin)
	s.do("PUT", "/v1/cache/k?class=phi", []byte("v")).is(t, 204)
	key := s.formerKey("default")
	for _, verb := range []string{"disable", "destroy", "shred"} {
		body := key
		if verb == "shred" {
			body = object{"tenant": "default"}
		}
		s.audit.take()
		k.changeKeys(false, k.token, verb, body).refused(t, "forbidden")
		require.Equal(t, "access.refused", s.audit.take()[0].Action.String())
		for _, wrong := range []object{
			nil, body.with("tenant", "*"), body.with("tenant", ""), body.with("tenant", 1), body.with("more", 1), body.with("reason", "odd"), body.with("confirm", 1),
		} {
			k.changeKeys(false, operator, verb, wrong).refused(t, "invalid_argument")
		}
		k.changeKeys(false, operator, verb, body.with("tenant", "nobody")).refused(t, "not_found")
	}
	refused := func(verb string, body object, code, says string) {
		t.Helper()
		got := k.changeKeys(false, operator, verb, body).refused(t, code)
		require.Contains(t, got["detail"], says)
	}
	for _, name := range []string{"use", "class"} {
		refused("disable", key.with(name, "odd"), "invalid_argument", "")
	}
	refused("disable", key.with("key", "00"), "invalid_argument", "64 hexadecimal digits")
	refused("destroy", key, "key_unusable", "disable it first")
	refused("disable", key.with("use", "file"), "not_found", "no such key")
	s.rotator.Now = time.Now
	refused("disable", key, "key_unusable", "may seal under the key until")
	d, err := s.ring.Document(t.Context(), "default")
	require.NoError(t, err)
	former := d.Keyset(format.UseCache, classify.PHI).Primary()
	ofCache := key.with("use", "cache").with("key", hex.EncodeToString(former[:]))
	refused("disable", ofCache, "key_unusable", "is the primary")
	_, err = s.rotator.Begin(t.Context(), "default", rotation.Order{Compromised: true})
	require.NoError(t, err)
	s.rotator.Now = func() time.Time { return time.Now().Add(s.ring.TTL() + 2*rotation.Margin) }
	refused("destroy", ofCache, "key_unusable", "rotations destroy former keys of the cache")

	s.audit.fail(audit.ErrUnavailable)
	key = s.formerKey("clinic")
	plan := k.endKey("shred", object{"tenant": "clinic"}).Confirmation
	k.changeKeys(false, operator, "shred", object{"tenant": "clinic", "confirm": plan}).refused(t, "audit_unavailable")
	plan = k.endKey("disable", key).Confirmation
	k.changeKeys(false, operator, "disable", key.with("confirm", plan)).refused(t, "audit_unavailable")
	d, err = s.ring.Document(t.Context(), "clinic")
	require.NoError(t, err)
	require.False(t, d.Shredded())
	for _, one := range d.Keyset(format.UseService, classify.PHI).Keys {
		require.Equal(t, envelope.Enabled, one.State)
	}
	plain := start(t, embedded(t), func(o *api.Options) { o.Unencrypted = true })
	plain.changeKeys(plain.issue(identity.EveryTenant, identity.KeysAdmin), "shred", object{"tenant": "default"}).refused(t, "encryption_disabled")
}
