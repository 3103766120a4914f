package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
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

// ending is what the operations that end keys answer.
type ending struct {
	Tenant, State, Warning, Confirmation string
	ExpiresAt                            string
	Changed, Shredded                    bool
	Keys                                 []struct{ Keys int }
}

// ends sends a request that ends keys, as an operator.
func (k *checker) ends(path string) (got ending) {
	k.t.Helper()
	answer := k.call(true, "POST", path, nil, "Authorization", "Bearer "+k.issue(identity.EveryTenant, identity.KeysAdmin))
	require.NoError(k.t, json.Unmarshal(answer.body, &got))
	return got
}

// formerKey makes a key of packages that was the primary once, long enough ago.
func (s *service) formerKey(tenant string) (path string) {
	s.t.Helper()
	keys, err := s.ring.Tenant(s.t.Context(), tenant)
	require.NoError(s.t, err)
	id, err := keys.Primary(format.UseService, classify.PHI)
	require.NoError(s.t, err)
	_, err = keys.Rotate(s.t.Context(), format.UseService, classify.PHI, nil)
	require.NoError(s.t, err)
	s.rotator.Now = func() time.Time { return time.Now().Add(s.ring.TTL() + 2*rotation.Margin) }
	return fmt.Sprintf("tenant=%s&use=service&class=phi&key=%x", url.QueryEscape(tenant), id)
}

// Keys are ended in two steps. The first event names the caller. To ask again changes nothing, and records that it was
// done.
func conformEnding(t *testing.T, k *checker) {
	query := k.formerKey("ended")
	for _, step := range []struct{ verb, before, after string }{{"disable", "enabled", "disabled"}, {"destroy", "disabled", "destroyed"}} {
		path := "/v1/keys:" + step.verb + "?" + query + "&reason=policy"
		k.audit.take()
		plan := k.ends(path)
		require.Equal(t, []any{"ended", step.before, false}, []any{plan.Tenant, plan.State, plan.Changed})
		require.Contains(t, plan.Warning, "No scan sees")
		expires, err := time.Parse(time.RFC3339, plan.ExpiresAt)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(10*time.Minute), expires, time.Minute)
		require.Empty(t, k.audit.take())
		done := k.ends(path + "&confirm=" + plan.Confirmation)
		require.Equal(t, []any{step.after, true, "", ""}, []any{done.State, done.Changed, done.Warning, done.Confirmation})
		event := k.audit.take()[0]
		require.Equal(t, []string{"key." + step.verb, step.verb + "Key", "ended", "service", "policy"},
			[]string{event.Action.String(), event.Operation, event.Tenant, event.Facts[audit.FactUse], event.Facts[audit.FactReason]})
		require.NotEmpty(t, event.Subject)
		require.NotEmpty(t, event.RequestID)
		again := k.ends(path + "&confirm=" + plan.Confirmation)
		require.Equal(t, []any{step.after, false, ""}, []any{again.State, again.Changed, again.Confirmation})
		event = k.audit.take()[0]
		require.Equal(t, []string{"key." + step.verb, "already"}, []string{event.Action.String(), event.Facts[audit.FactPhase]})
	}
	sessions := "Bearer " + k.issue("ended", identity.CacheRead|identity.CacheWrite)
	var made struct{ ID string }
	require.NoError(t, json.Unmarshal(k.call(true, "POST", "/v1/sessions", []byte(`{"data":{}}`), "Content-Type", "application/json", "Authorization", sessions).body, &made))
	k.audit.take()
	plan := k.ends("/v1/keys:shred?tenant=ended")
	require.Empty(t, k.audit.take())
	require.Equal(t, []any{"ended", false, false}, []any{plan.Tenant, plan.Shredded, plan.Changed})
	require.NotEmpty(t, plan.Keys)
	done := k.ends("/v1/keys:shred?tenant=ended&reason=incident&confirm=" + plan.Confirmation)
	require.Equal(t, []any{true, true, ""}, []any{done.Shredded, done.Changed, done.Confirmation})
	event := k.audit.take()[0]
	require.Equal(t, []string{"tenant.shred", "shredTenant", "ended", "incident"}, []string{event.Action.String(), event.Operation, event.Tenant, event.Facts[audit.FactReason]})
	require.NotEmpty(t, event.Subject)
	again := k.ends("/v1/keys:shred?tenant=ended")
	require.Equal(t, []any{true, false, ""}, []any{again.Shredded, again.Changed, again.Confirmation})
	require.Equal(t, "tenant.shred", k.audit.take()[0].Action.String())
	k.call(false, "GET", "/v1/sessions/"+made.ID, nil, "Authorization", sessions).refused(t, "key_destroyed")
	k.call(false, "POST", "/v1/sessions", []byte(`{"data":{}}`), "Content-Type", "application/json", "Authorization", sessions).refused(t, "key_destroyed")
	k.call(false, "PUT", "/v1/cache/k?class=phi", []byte("v"), "Authorization", "Bearer "+k.issue("ended", identity.CacheWrite)).refused(t, "key_destroyed")
	k.call(false, "POST", "/v1/keys:disable?"+query, nil, "Authorization", "Bearer "+k.issue(identity.EveryTenant, identity.KeysAdmin)).refused(t, "key_destroyed")
}

// A confirmation is good for what it was given for, as long as that stays as it was, and not for long.
func TestConfirmations(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	k := newChecker(t, s)
	operator := "Bearer " + s.issue(identity.EveryTenant, identity.KeysAdmin)
	query, other := s.formerKey("clinic"), s.formerKey("other")
	path := "/v1/keys:disable?" + query + "&confirm="
	plan := k.ends("/v1/keys:disable?" + query).Confirmation
	s.audit.take()
	stale := func(path string) {
		t.Helper()
		k.call(false, "POST", path, nil, "Authorization", operator).refused(t, "precondition_failed")
		require.Empty(t, s.audit.take(), "nothing was begun")
	}
	second, digest, _ := strings.Cut(plan, ".")
	for _, confirm := range []string{
		"", ".", "x", second, "." + digest, second + "." + digest[1:], second + ".x", "0." + digest, "99999999999999999999." + digest,
		k.ends("/v1/keys:shred?tenant=clinic").Confirmation, k.ends("/v1/keys:disable?" + other).Confirmation,
	} {
		stale(path + confirm)
	}
	stale("/v1/keys:shred?tenant=clinic&confirm=" + plan)
	d, err := s.ring.Document(t.Context(), "clinic")
	require.NoError(t, err)
	key := query[strings.Index(query, "key=")+4:]
	for _, age := range []time.Duration{11 * time.Minute, -11 * time.Minute} {
		old, err := api.Confirmation("disableKey", "service phi "+key, d, time.Now().Add(-age))
		require.NoError(t, err)
		stale(path + old)
	}
	another, err := api.Confirmation("destroyKey", "service phi "+key, d, time.Now())
	require.NoError(t, err)
	stale(path + another)
	recent, err := api.Confirmation("disableKey", "service phi "+key, d, time.Now().Add(-9*time.Minute))
	require.NoError(t, err)
	tenant, err := s.ring.Tenant(t.Context(), "clinic")
	require.NoError(t, err)
	_, err = tenant.Primary(format.UseCache, classify.PII)
	require.NoError(t, err)
	stale(path + recent)
	stale(path + plan)
	d, err = s.ring.Document(t.Context(), "clinic")
	require.NoError(t, err)
	recent, err = api.Confirmation("disableKey", "service phi "+key, d, time.Now().Add(-9*time.Minute))
	require.NoError(t, err)
	require.True(t, k.ends(path+recent).Changed)
}

// Only an operator ends keys, and what is needed is refused, as is a key of the cache.
func TestEndingIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	k := newChecker(t, s)
	operator := "Bearer " + s.issue(identity.EveryTenant, identity.KeysAdmin)
	s.do("PUT", "/v1/cache/k?class=phi", []byte("v")).is(t, 204)
	query := s.formerKey("default")
	for _, verb := range []string{"disable", "destroy", "shred"} {
		of := query
		if verb == "shred" {
			of = "tenant=default"
		}
		s.audit.take()
		k.call(false, "POST", "/v1/keys:"+verb+"?"+of, nil).refused(t, "forbidden")
		require.Equal(t, "access.refused", s.audit.take()[0].Action.String())
		for _, wrong := range []string{"", "?tenant=*", "?tenant=", "?odd=1", "?" + of + "&reason=odd"} {
			k.call(false, "POST", "/v1/keys:"+verb+wrong, nil, "Authorization", operator).refused(t, "invalid_argument")
		}
		k.call(false, "POST", "/v1/keys:"+verb+"?"+strings.Replace(of, "default", "nobody", 1), nil, "Authorization", operator).refused(t, "not_found")
	}
	refused := func(verb, query, code, says string) {
		t.Helper()
		got := k.call(false, "POST", "/v1/keys:"+verb+"?"+query, nil, "Authorization", operator).refused(t, code)
		require.Contains(t, got["detail"], says)
	}
	for _, part := range []string{"use=service", "class=phi"} {
		refused("disable", strings.Replace(query, part, part[:strings.Index(part, "=")+1]+"odd", 1), "invalid_argument", "")
	}
	refused("disable", query[:len(query)-1], "invalid_argument", "64 hexadecimal digits")
	refused("destroy", query, "key_unusable", "disable it first")
	refused("disable", strings.Replace(query, "service", "file", 1), "not_found", "no such key")
	s.rotator.Now = time.Now
	refused("disable", query, "key_unusable", "may seal under the key until")
	d, err := s.ring.Document(t.Context(), "default")
	require.NoError(t, err)
	refused("disable", fmt.Sprintf("tenant=default&use=cache&class=phi&key=%x", d.Keyset(format.UseCache, classify.PHI).Primary()), "key_unusable", "is the primary")
	former := d.Keyset(format.UseCache, classify.PHI).Primary()
	_, err = s.rotator.Begin(t.Context(), "default", rotation.Order{Compromised: true})
	require.NoError(t, err)
	s.rotator.Now = func() time.Time { return time.Now().Add(s.ring.TTL() + 2*rotation.Margin) }
	refused("destroy", fmt.Sprintf("tenant=default&use=cache&class=phi&key=%x", former), "key_unusable", "rotations destroy former keys of the cache")

	s.audit.fail(audit.ErrUnavailable)
	query = s.formerKey("clinic")
	plan := k.ends("/v1/keys:shred?tenant=clinic").Confirmation
	k.call(false, "POST", "/v1/keys:shred?tenant=clinic&confirm="+plan, nil, "Authorization", operator).refused(t, "audit_unavailable")
	plan = k.ends("/v1/keys:disable?" + query).Confirmation
	k.call(false, "POST", "/v1/keys:disable?"+query+"&confirm="+plan, nil, "Authorization", operator).refused(t, "audit_unavailable")
	d, err = s.ring.Document(t.Context(), "clinic")
	require.NoError(t, err)
	require.False(t, d.Shredded())
	for _, one := range d.Keyset(format.UseService, classify.PHI).Keys {
		require.Equal(t, envelope.Enabled, one.State)
	}
	plain := start(t, embedded(t), func(o *api.Options) { o.Unencrypted = true })
	plain.do("POST", "/v1/keys:shred?tenant=default", nil, "Authorization", "Bearer "+plain.issue(identity.EveryTenant, identity.KeysAdmin)).refused(t, "encryption_disabled")
}
