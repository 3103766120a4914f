package api_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

type keysetsPage struct {
	Keysets []struct {
		Tenant, Use, Class, Primary, RotatedAt string
		NextRotationAt                         string
		Epoch                                  uint32
		Keys                                   []struct{ ID, State, CreatedAt string }
	}
	Cursor string
}

func (k *checker) keysets(query string, bearer string) (page keysetsPage) {
	k.t.Helper()
	got := k.call(true, "GET", "/v1/keys"+query, nil, "Authorization", "Bearer "+bearer)
	require.NoError(k.t, json.Unmarshal(got.body, &page))
	return page
}

// issue creates a token.
func (s *service) issue(tenant string, scopes identity.Scopes) string {
	s.t.Helper()
	text, _, err := s.tokens.Issue(context.Background(), token.Grant{Tenant: tenant, Scopes: scopes}, token.Audit{Recorder: audit.Discard})
	require.NoError(s.t, err)
	return text
}

// The list of keysets matches the keyset document. A tenant's token lists its own tenant.
func conformKeysets(t *testing.T, k *checker) {
	tenant, err := k.ring.Tenant(t.Context(), "default")
	require.NoError(t, err)
	former, err := tenant.Primary(t.Context(), format.UseCache, classify.PHI)
	require.NoError(t, err)
	primary, err := tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
	require.NoError(t, err)
	require.NoError(t, k.ring.Advance(t.Context(), "default", format.UseCache, classify.PHI, former, envelope.Compromised))
	for _, query := range []string{"", "?tenant=default", "?tenant=default&limit=1"} {
		page := k.keysets(query, k.token)
		require.Empty(t, page.Cursor, "of one tenant")
		states := map[string]string{}
		for _, one := range page.Keysets {
			require.Equal(t, "default", one.Tenant)
			if one.Use == "cache" && one.Class == "phi" {
				require.Equal(t, hex.EncodeToString(primary[:]), one.Primary)
				for _, key := range one.Keys {
					states[key.ID] = key.State
				}
			}
		}
		require.Equal(t, map[string]string{hex.EncodeToString(primary[:]): "enabled", hex.EncodeToString(former[:]): "compromised"}, states)
	}
	k.audit.take()
	k.call(false, "GET", "/v1/keys?tenant=other", nil).refused(t, "forbidden")
	require.Equal(t, "access.refused", k.audit.take()[0].Action.String())
	require.NoError(t, k.ring.Advance(t.Context(), "default", format.UseCache, classify.PHI, former, envelope.Destroyed), "a compromised one leaves no way back")
	conformRotations(t, k)
	for _, query := range []string{"?tenant=", "?tenant=*", "?tenant=%FF", "?limit=0", "?limit=1001", "?cursor=", "?cursor=_w", "?use=cache"} {
		k.call(false, "GET", "/v1/keys"+query, nil).refused(t, "invalid_argument")
	}
}

// A tenant's token and an operator's token list rotations as their records describe them.
func conformRotations(t *testing.T, k *checker) {
	var got struct {
		Rotations []struct {
			Tenant, ID, State, BegunAt, RotatedAt string
			Reencrypted                           int
		}
		Sweep struct{ Parts, PartsDone, Scanned int }
	}
	ask := func(query, bearer string) {
		t.Helper()
		require.NoError(t, json.Unmarshal(k.call(true, "GET", "/v1/rotations"+query, nil, "Authorization", "Bearer "+bearer).body, &got))
	}
	operator := k.issue(identity.EveryTenant, identity.KeysAdmin)
	ask("", k.token)
	require.Empty(t, got.Rotations)
	k.do("PUT", "/v1/cache/rotated?class=phi", []byte("v")).is(t, 204)
	_, err := k.rotator.Begin(t.Context(), "default", rotation.Order{})
	require.NoError(t, err)
	for more := true; more; {
		more, err = k.rotator.RunPending(t.Context())
		require.NoError(t, err)
	}
	record, err := k.rotator.Record(t.Context(), "default")
	require.NoError(t, err)
	for _, query := range []string{"", "?tenant=default"} {
		for _, bearer := range []string{k.token, operator} {
			ask(query, bearer)
			require.Len(t, got.Rotations, 1)
			one := got.Rotations[0]
			require.Equal(t, []any{"default", record.ID, string(rotation.Grace)}, []any{one.Tenant, one.ID, one.State})
			require.Equal(t, record.Counts.Reencrypted, one.Reencrypted)
			require.Equal(t, []int{1, 1}, []int{got.Sweep.Parts, got.Sweep.PartsDone})
			require.Positive(t, got.Sweep.Scanned)
			require.Positive(t, one.Reencrypted)
			require.NotEmpty(t, one.RotatedAt)
		}
	}
	conformRotate(t, k, operator)
	ask("?tenant=none", operator)
	require.Empty(t, got.Rotations)
	k.call(false, "GET", "/v1/rotations?tenant=other", nil).refused(t, "forbidden")
	k.call(false, "GET", "/v1/rotations?tenant=*", nil).refused(t, "invalid_argument")
	for _, one := range k.keysets("", k.token).Keysets {
		rotated, err := time.Parse(time.RFC3339, one.RotatedAt)
		require.NoError(t, err)
		next, err := time.Parse(time.RFC3339, one.NextRotationAt)
		require.NoError(t, err)
		require.Equal(t, rotationAge, next.Sub(rotated))
	}
}

// A tenant's token rotates the tenant's own keys. An operator's token rotates those of the tenant that the request names. The
// audit event has the caller.
func conformRotate(t *testing.T, k *checker, operator string) {
	var got struct {
		ID, State, NextAt, EndedAt string
		Compromised                bool
	}
	post := func(bearer, verb string, body object) {
		t.Helper()
		got.NextAt = ""
		require.NoError(t, json.Unmarshal(k.changeKeys(true, bearer, verb, body).body, &got))
	}
	k.audit.take()
	post(k.token, "rotate", object{"class": "phi", "reason": "personnel"})
	require.Equal(t, string(rotation.Reencrypting), got.State)
	asked := k.audit.take()
	first, made := asked[0], asked[1]
	require.Equal(t, []string{"key.rotate", "rotateKeys", "default"}, []string{first.Action.String(), first.Operation, first.Tenant})
	require.NotEmpty(t, first.Subject)
	require.NotEmpty(t, first.RequestID)
	require.NotZero(t, made.KeyID)
	for _, e := range asked {
		require.Equal(t, "personnel", e.Facts[audit.FactReason])
	}
	require.Equal(t, []string{"key.rotate", first.Issuer, first.Subject, first.RequestID}, []string{made.Action.String(), made.Issuer, made.Subject, made.RequestID})
	begun := got.ID
	post(operator, "rotate", object{"tenant": "default", "class": "phi", "compromised": false})
	require.Equal(t, begun, got.ID, "it is under way")
	k.audit.take()
	post(operator, "rollback", object{"tenant": "default"})
	for _, e := range k.audit.take() {
		require.Equal(t, audit.KeyRollback, e.Action)
		require.NotEmpty(t, e.Subject)
		require.NotEqual(t, first.Subject, e.Subject, "that was another token")
	}
	require.Equal(t, []string{begun, string(rotation.RolledBack)}, []string{got.ID, got.State})
	require.NotEmpty(t, got.EndedAt)
	require.Empty(t, got.NextAt, "what has ended goes on no more")
	post(k.token, "rotate", object{"compromised": true})
	require.True(t, got.Compromised)
	k.changeKeys(false, k.token, "rollback", nil).refused(t, "key_unusable")
	for _, verb := range []string{"rotate", "rollback"} {
		k.changeKeys(false, k.token, verb, object{"tenant": "other"}).refused(t, "forbidden")
		k.changeKeys(false, operator, verb, object{"tenant": "none"})
		k.changeKeys(false, operator, verb, nil).refused(t, "invalid_argument")
		k.changeKeys(false, k.token, verb, object{"tenant": "*"}).refused(t, "invalid_argument")
		k.call(false, "POST", "/v1/keys:"+verb, nil).refused(t, "invalid_argument")
		k.call(false, "POST", "/v1/keys:"+verb+"?tenant=default", []byte("{}"), "Content-Type", "application/json").refused(t, "invalid_argument")
	}
	for name, value := range (object{"class": "x", "compromised": "yes", "tenant": 1, "unknown": 1, "reason": "boredom"}) {
		k.changeKeys(false, k.token, "rotate", object{name: value}).refused(t, "invalid_argument")
	}
	k.changeKeys(false, k.token, "rotate", object{"reason": nil}).refused(t, "invalid_argument")
}

// An operator lists every tenant once, in the same order for every page size.
func TestOperatorListsKeysets(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	k := newChecker(t, s)
	operator := s.issue(identity.EveryTenant, identity.KeysAdmin)
	require.Empty(t, k.keysets("", operator).Keysets)
	var want []string
	for i := range 23 {
		name := fmt.Sprintf("tenant %02d/é", i)
		tenant, err := s.ring.Tenant(t.Context(), name)
		require.NoError(t, err)
		_, err = tenant.Primary(t.Context(), format.UseCache, classify.PHI)
		require.NoError(t, err)
		want = append(want, name)
	}
	require.NoError(t, s.ring.Shred(t.Context(), want[5]))
	names := slices.Delete(slices.Clone(want), 5, 6) // a shredded tenant has no keysets
	want = nil
	for limit := 24; limit >= 1; limit-- {
		var got []string
		for cursor := ""; ; {
			page := k.keysets(fmt.Sprintf("?limit=%d%s", limit, cursor), operator)
			names := map[string]bool{}
			for _, one := range page.Keysets {
				if !names[one.Tenant] {
					got = append(got, one.Tenant)
				}
				names[one.Tenant] = true
				require.Equal(t, "enabled", one.Keys[0].State)
			}
			require.LessOrEqual(t, len(names), limit)
			if page.Cursor == "" {
				break
			}
			cursor = "&cursor=" + page.Cursor
		}
		if want == nil {
			want = got
			require.ElementsMatch(t, names, want)
		}
		require.Equal(t, want, got, limit)
	}
	require.Equal(t, want[3], k.keysets("?tenant="+url.QueryEscape(want[3]), operator).Keysets[0].Tenant)
	s.do("GET", "/v1/keys?tenant=none", nil, "Authorization", "Bearer "+operator).refused(t, "not_found")
	_, err := s.ring.Document(t.Context(), "none")
	require.Error(t, err, "asking makes no keys")
	s.do("GET", "/v1/keys", nil, "Authorization", "Bearer "+s.issue(want[3], identity.KeysAdmin)).is(t, 200)
}

// A keyset that cannot be read fails its page. Other keysets can be requested by tenant.
func TestUnreadableKeysetFailsOnlyItsPage(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	operator := "Bearer " + s.issue(identity.EveryTenant, identity.KeysAdmin)
	_, err := s.ring.Tenant(t.Context(), "damaged")
	require.NoError(t, err)
	keystoretest.Put(t, s.keys, keystore.Keysets, "damaged", []byte("damaged"))
	_, err = s.ring.Tenant(t.Context(), "whole")
	require.NoError(t, err)
	s.do("GET", "/v1/keys", nil, "Authorization", operator).refused(t, "authentication_failed")
	readable, damaged := 0, 0
	for after := ""; ; { // all pages except the one with the damaged keyset can be read, in any order
		d, next, err := s.ring.DocumentPage(t.Context(), after, 1)
		if err != nil {
			var one []keystore.Document
			one, after, err = s.keys.Page(t.Context(), keystore.Keysets, after, 1)
			require.NoError(t, err)
			if one[0].Name == "damaged" { // the system document is in no page
				damaged++
			}
			continue
		}
		if readable += len(d); next == "" {
			break
		}
		after = next
	}
	require.Equal(t, []int{1, 1}, []int{readable, damaged})
	s.do("GET", "/v1/keys?tenant=damaged", nil, "Authorization", operator).refused(t, "authentication_failed")
	s.do("GET", "/v1/keys?tenant=whole", nil, "Authorization", operator).is(t, 200)
}

// The audit log records a refused or failed change of keys with its error code. A successful change has one event with the
// caller and the reason.
func TestRefusedKeyChangesAreRecorded(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	operator := s.issue(identity.EveryTenant, identity.KeysAdmin)
	s.do("PUT", "/v1/cache/k?class=phi", []byte("v")).is(t, 204)
	require.NoError(t, func() error { _, err := s.ring.Tenant(t.Context(), "shredded"); return err }())
	require.NoError(t, s.ring.Shred(t.Context(), "shredded"))
	none := fmt.Sprintf("%064x", 1)
	key := object{"use": "service", "class": "phi", "key": none, "confirm": "x"}
	for _, c := range []struct {
		verb, tenant string
		more         object
		action, code string
	}{
		{"rotate", "ghost", nil, "key.rotate", "not_found"},
		{"rotate", "default", object{"class": "pii"}, "key.rotate", "not_found"},
		{"rotate", "shredded", nil, "key.rotate", "key_destroyed"},
		{"rollback", "default", nil, "key.rollback", "key_unusable"},
		{"rollback", "ghost", nil, "key.rollback", "key_unusable"},
		{"disable", "ghost", key, "key.disable", "not_found"},
		{"destroy", "default", key, "key.destroy", "not_found"},
		{"shred", "ghost", object{"confirm": "x"}, "tenant.shred", "not_found"},
	} {
		s.audit.take()
		s.changeKeys(operator, c.verb, c.more.with("tenant", c.tenant)).refused(t, c.code)
		all := s.audit.take()
		require.Len(t, all, 1, c.verb)
		require.Equal(t, []string{c.action, c.tenant, c.code}, []string{all[0].Action.String(), all[0].Tenant, all[0].Code}, c.verb)
		require.NotEmpty(t, all[0].Subject, c.verb)
	}
	s.changeKeys(operator, "rotate", object{"tenant": "default", "reason": "odd"}).refused(t, "invalid_argument")
	s.changeKeys(operator, "rotate", object{"tenant": "default", "reason": "personnel"}).is(t, 200)
	var asked, made int
	for _, e := range s.audit.take() {
		require.Empty(t, e.Code)
		switch {
		case e.Facts[audit.FactPhase] == "asked":
			asked++
			require.Equal(t, "personnel", e.Facts[audit.FactReason])
			require.NotEmpty(t, e.Subject)
		case e.Action == audit.KeyRotate:
			made++
			require.NotZero(t, e.KeyID)
		}
	}
	require.Equal(t, 1, asked)
	require.Positive(t, made)
	s.rotator.Keystore = keystoretest.NewFaultyStore(s.keys, func(keystoretest.Write) keystoretest.Fault { return keystoretest.FailBefore })
	s.changeKeys(operator, "rotate", object{"tenant": "default", "compromised": true}).refused(t, "keyring_unavailable")
	all := s.audit.take()
	require.Equal(t, []string{"", "keyring_unavailable"}, []string{all[0].Code, all[len(all)-1].Code}, "it failed after it was asked for")
	s.audit.fail(audit.ErrUnavailable)
	s.changeKeys(operator, "rotate", object{"tenant": "default", "compromised": true}).refused(t, "audit_unavailable")
}

// A server that stores values unencrypted refuses rotations.
func TestRotationWithoutKeysIsRefused(t *testing.T) {
	t.Parallel()
	plain := start(t, embedded(t), func(o *api.Options) { o.Unencrypted = true })
	plain.changeKeys(plain.token, "rotate", nil).refused(t, "encryption_disabled")
	s := start(t, embedded(t), nil)
	s.do("PUT", "/v1/cache/k?class=phi", []byte("v")).is(t, 204)
	s.changeKeys(s.token, "rotate", object{"class": "pii"}).refused(t, "not_found")
	s.changeKeys(s.token, "rollback", nil).refused(t, "key_unusable")
}
