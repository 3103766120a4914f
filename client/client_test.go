package client_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/client"
	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
)

// The client calls every operation of the document. The server's metrics prove it.
func TestClientCallsEveryOperation(t *testing.T) {
	t.Parallel()
	url, bearer, operator := serve(t)
	c := connect(t, url+"/", bearer)
	callCache(t, c)
	callBatch(t, c)
	callPackages(t, c)
	callSessions(t, c)
	callKeysets(t, c)
	callEnding(t, c, connect(t, url, operator))
	callEvents(t, c)
	ctx := t.Context()
	require.NoError(t, c.Live(ctx))
	health, err := c.Ready(ctx)
	require.NoError(t, err)
	require.Equal(t, client.Health{Status: "ok"}, health)
	document, err := c.Document(ctx)
	require.NoError(t, err)
	require.Equal(t, string(api.OpenAPI), string(document))
	docs, err := c.Docs(ctx)
	require.NoError(t, err)
	require.Contains(t, string(docs), "<html")
	_, err = c.Metrics(ctx)
	require.NoError(t, err)

	metrics, err := c.Metrics(ctx)
	require.NoError(t, err)
	ids := api.Operations()
	require.Greater(t, len(ids), 15)
	for _, id := range ids {
		require.Regexp(t, `coffer_operations_total\{.*operation="`+regexp.QuoteMeta(id)+`",outcome="ok"`, string(metrics), "the client has no method for "+id)
	}
}

func callEvents(t *testing.T, c *client.Client) {
	seen := 0
	for event, err := range c.Events(t.Context(), client.EventFilter{Tenant: "default", Action: "key.", Severity: "info", Class: "phi", Since: time.Now().Add(-time.Hour)}) {
		require.NoError(t, err)
		require.Equal(t, "default", event.Tenant)
		seen++
	}
	require.Positive(t, seen)
	head, err := c.EventHead(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, head.Time)
}

func callKeysets(t *testing.T, c *client.Client) {
	seen := 0
	for _, tenant := range []string{"", "default"} {
		for one, err := range c.Keysets(t.Context(), tenant) {
			require.NoError(t, err)
			require.Equal(t, "default", one.Tenant)
			require.Equal(t, []client.KeyInfo{{ID: one.Primary, State: "enabled", CreatedAt: one.RotatedAt}}, one.Keys)
			seen++
		}
	}
	require.Positive(t, seen)
	rotations, err := c.Rotations(t.Context(), "default")
	require.NoError(t, err)
	require.Empty(t, rotations.Rotations)
	begun, err := c.Rotate(t.Context(), client.Order{Class: classify.PHI, Reason: "policy"})
	require.NoError(t, err)
	require.Equal(t, []any{"default", "reencrypting", "policy", false}, []any{begun.Tenant, begun.State, begun.Reason, begun.Compromised})
	back, err := c.Rollback(t.Context(), "default")
	require.NoError(t, err)
	require.Equal(t, []string{begun.ID, "rolled-back"}, []string{back.ID, back.State})
	begun, err = c.Rotate(t.Context(), client.Order{Tenant: "default", Compromised: true})
	require.NoError(t, err)
	require.True(t, begun.Compromised)
	_, err = c.Rollback(t.Context(), "")
	require.Error(t, err)
	for _, err := range c.Keysets(t.Context(), "other") {
		require.ErrorIs(t, err, client.ErrForbidden)
	}
}

// callEnding disables, destroys and shreds another tenant's keys as an operator. A key that is still needed is refused, and
// nothing changes without a confirmation.
func callEnding(t *testing.T, c, operator *client.Client) {
	var primary, former client.KeyName
	for one, err := range operator.Keysets(t.Context(), "ended") {
		require.NoError(t, err)
		primary = client.KeyName{Tenant: "ended", Use: one.Use, Class: classify.PHI, ID: one.Primary}
		former = client.KeyName{Tenant: "ended", Use: one.Use, Class: classify.PHI, ID: one.Keys[1].ID}
	}
	type end = func(context.Context, client.KeyName, client.Confirm) (client.KeyRetirement, error)
	states := []string{"enabled", "disabled", "destroyed"}
	for i, end := range []end{operator.DisableKey, operator.DestroyKey} {
		_, err := end(t.Context(), primary, client.Confirm{})
		require.Equal(t, "key_unusable", codes.Of(err).Code)
		preview, err := end(t.Context(), former, client.Confirm{})
		require.NoError(t, err)
		require.Equal(t, []any{states[i], false}, []any{preview.State, preview.Changed})
		require.NotEmpty(t, preview.Warning)
		done, err := end(t.Context(), former, client.Confirm{Confirmation: preview.Confirmation, Reason: "incident"})
		require.NoError(t, err)
		require.Equal(t, []any{states[i+1], true, ""}, []any{done.State, done.Changed, done.Confirmation})
	}
	preview, err := operator.ShredTenant(t.Context(), "ended", client.Confirm{})
	require.NoError(t, err)
	require.False(t, preview.Shredded || preview.Changed)
	require.NotEmpty(t, preview.Warning)
	require.Equal(t, []string{"service", "phi"}, []string{preview.Keys[0].Use, preview.Keys[0].Class})
	_, err = c.ShredTenant(t.Context(), "ended", client.Confirm{Confirmation: preview.Confirmation})
	require.ErrorIs(t, err, client.ErrForbidden)
	_, err = operator.ShredTenant(t.Context(), "ended", client.Confirm{Confirmation: preview.Confirmation + "x"})
	require.ErrorIs(t, err, client.ErrPrecondition)
	done, err := operator.ShredTenant(t.Context(), "ended", client.Confirm{Confirmation: preview.Confirmation})
	require.NoError(t, err)
	require.True(t, done.Shredded && done.Changed)
	require.Empty(t, done.Confirmation)
}

func callCache(t *testing.T, c *client.Client) {
	ctx, context := t.Context(), map[string]string{"who": "Zoë 🔒", "<&>": "\x7f"}
	for _, key := range []string{"a/../b?c#é%", ".", ".."} {
		first, err := c.Set(ctx, key, []byte("Ada"), classify.PHI, client.TTL(time.Hour), client.Context(context), client.IfAbsent())
		require.NoError(t, err)
		require.Equal(t, time.Hour, first.TTL)
		_, err = c.Set(ctx, key, nil, classify.PHI, client.IfAbsent())
		require.ErrorIs(t, err, client.ErrPrecondition)
		second, err := c.SetStream(ctx, key, strings.NewReader("Bea"), classify.PHI, client.IfMatch(first.ETag), client.ContentType("text/x-name"), client.Context(context))
		require.NoError(t, err)
		entry, err := c.Get(ctx, key, client.MinClass(classify.PHI))
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), entry.EncryptedAt, time.Minute)
		require.Equal(t, client.Entry{Value: []byte("Bea"), Info: client.Info{
			Class: classify.PHI, KeyID: entry.KeyID, EncryptedAt: entry.EncryptedAt, Context: context, ETag: second.ETag, ContentType: "text/x-name",
		}}, entry)
		_, err = c.Get(ctx, key, client.IfNoneMatch(second.ETag))
		require.ErrorIs(t, err, client.ErrNotModified)
		stream, info, err := c.GetStream(ctx, key)
		require.NoError(t, err)
		read, err := io.ReadAll(stream)
		require.NoError(t, err)
		require.NoError(t, stream.Close())
		require.Equal(t, entry, client.Entry{Info: info, Value: read})
		sealed, err := c.GetPackage(ctx, key)
		require.NoError(t, err)
		pkg, err := format.Parse(sealed.Value)
		require.NoError(t, err)
		require.Equal(t, format.UseCache, pkg.Header.Use)
		_, err = c.Expire(ctx, key, 20*time.Minute, client.IfMatch(second.ETag))
		require.NoError(t, err)
		_, ttl, err := c.Head(ctx, key)
		require.NoError(t, err)
		require.Equal(t, 20*time.Minute, ttl)
		require.NoError(t, c.Delete(ctx, key))
		require.ErrorIs(t, c.Delete(ctx, key), cache.ErrNotFound)
		_, _, err = c.Head(ctx, key)
		require.ErrorIs(t, err, client.ErrNotFound)
	}
	_, err := c.Set(ctx, "k", nil, 0)
	require.ErrorIs(t, err, classify.ErrUnknown)
	_, err = c.Set(ctx, "k", nil, classify.PHI, client.Context(map[string]string{"a": "\xff"}))
	require.ErrorContains(t, err, "UTF-8")
}

func callBatch(t *testing.T, c *client.Client) {
	ctx := t.Context()
	var operations []client.Operation
	for key := range 250 {
		operations = append(operations, client.SetOperation("list/"+string(rune('A'+key)), nil, classify.Public, 0, nil))
	}
	results, err := c.Batch(ctx, operations)
	require.NoError(t, err)
	keys := map[string]bool{}
	for key, err := range c.List(ctx, "list/") {
		require.NoError(t, err)
		keys[key] = true
	}
	require.Len(t, keys, len(results), "of several pages")
	for range c.List(ctx, "") {
		break
	}
	results, err = c.Batch(ctx, []client.Operation{
		client.SetOperation("k", []byte("v"), classify.PHI, time.Hour, map[string]string{"a": "b"}), client.GetOperation("k", classify.PHI),
		client.GetOperation("list/A", classify.PHI), client.GetOperation("none", 0), client.DeleteOperation("k"),
	})
	require.NoError(t, err)
	require.Equal(t, []byte("v"), results[1].Entry.Value)
	require.Equal(t, results[0].ETag, results[1].Entry.ETag)
	require.Equal(t, classify.PHI, results[1].Entry.Class)
	require.ErrorIs(t, results[2].Err, client.ErrClassTooLow)
	require.ErrorIs(t, results[3].Err, client.ErrNotFound)
	require.NoError(t, results[4].Err)
	_, err = c.Batch(ctx, []client.Operation{client.GetOperation("\xff", 0)})
	require.ErrorContains(t, err, "UTF-8")
}

func callPackages(t *testing.T, c *client.Client) {
	ctx, plain := t.Context(), client.Plaintext{Value: []byte("é<&>"), Text: true, Class: classify.PHI, Context: map[string]string{"a": "b"}}
	for range 20 { // about two of them in a millisecond that ends in 0
		sealed, err := c.Encrypt(ctx, plain)
		require.NoError(t, err)
		_, err = jsonform.Join(sealed.Ciphertext, sealed.Metadata)
		require.NoError(t, err)
		kept, err := json.Marshal(sealed)
		require.NoError(t, err)
		var again client.Package
		require.NoError(t, json.Unmarshal(kept, &again))
		opened, err := c.Decrypt(ctx, again, classify.PHI)
		require.NoError(t, err)
		require.Equal(t, []any{"é<&>", "text", classify.PHI, plain.Context}, []any{string(opened.Value), opened.ValueType, opened.Class, opened.Context})
	}
	results, err := c.EncryptBatch(ctx, []client.Plaintext{plain, {Value: []byte{0, 255}, Class: classify.PII}, {Class: classify.Public}})
	require.NoError(t, err)
	var packages []client.Package
	for _, r := range results {
		require.NoError(t, r.Err)
		packages = append(packages, r.Package)
	}
	forged := packages[0]
	forged.Metadata.Context = map[string]string{"a": "c"}
	opened, err := c.DecryptBatch(ctx, append(packages, forged), 0)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 255}, opened[1].Opened.Value)
	require.Empty(t, opened[2].Opened.Value)
	require.ErrorIs(t, opened[3].Err, client.ErrAuthenticationFailed)
	_, err = c.Encrypt(ctx, client.Plaintext{Value: []byte{0xff}, Text: true, Class: classify.PHI})
	require.ErrorContains(t, err, "UTF-8")
}

func callSessions(t *testing.T, c *client.Client) {
	ctx := t.Context()
	made, err := c.CreateSession(ctx, map[string]string{"user": "u"}, 30*time.Minute)
	require.NoError(t, err)
	require.WithinDuration(t, made.CreatedAt.Add(30*time.Minute), made.ExpiresAt, time.Minute)
	found, err := c.GetSession(ctx, made.ID)
	require.NoError(t, err)
	require.JSONEq(t, `{"user":"u"}`, string(found.Data))
	extended, err := c.ExtendSession(ctx, made.ID, 2*time.Hour)
	require.NoError(t, err)
	require.Greater(t, extended.ExpiresAt, made.ExpiresAt.Add(time.Hour))
	require.NoError(t, c.EndSession(ctx, made.ID))
	require.NoError(t, c.EndSession(ctx, made.ID))
	_, err = c.GetSession(ctx, made.ID)
	require.ErrorIs(t, err, client.ErrNotFound)
}

// Errors have the server's code, status and request id, and contain no secret, whatever caused them.
func TestErrors(t *testing.T) {
	t.Parallel()
	url, _, _ := serve(t)
	c := connect(t, url, "coffer_planted")
	_, err := c.Get(t.Context(), "planted")
	require.ErrorIs(t, err, client.ErrUnauthorized)
	var failed *client.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, []any{"unauthorized", 401}, []any{failed.Code(), failed.Status})
	require.GreaterOrEqual(t, len(failed.RequestID), 16)
	require.NotContains(t, err.Error()+c.String()+c.GoString(), "planted")

	closed := httptest.NewServer(nil)
	closed.Close()
	_, err = connect(t, closed.URL, "coffer_planted", client.WithAttempts(1)).Get(t.Context(), "planted")
	require.ErrorIs(t, err, client.ErrUnreachable)
	require.ErrorAs(t, err, &failed)
	require.NotContains(t, err.Error()+failed.Unwrap().Error(), "planted")

	for _, bad := range []string{"", "coffer.example", "ftp://coffer.example", "https://", "https://a?b", "https://u:p@a"} {
		t.Run(bad, func(t *testing.T) {
			_, err := client.New(bad)
			require.Error(t, err, bad)
		})
	}
}

// Responses of other servers are errors, and the client follows no redirect, so that it sends neither token nor value elsewhere.
func TestResponsesOfOtherServersAreErrors(t *testing.T) {
	t.Parallel()
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if reached = reached || strings.HasPrefix(r.URL.Path, "/elsewhere"); strings.HasSuffix(r.URL.Path, "redirect") {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer other.Close()
	c := connect(t, other.URL, "t", client.WithHTTPClient(http.DefaultClient))
	for _, key := range []string{"k", "redirect"} {
		_, err := c.Get(t.Context(), key)
		require.ErrorContains(t, err, "is not from a Coffer server")
		_, err = c.Set(t.Context(), key, []byte("v"), classify.PHI)
		require.ErrorContains(t, err, "is not from a Coffer server")
		_, _, err = c.GetStream(t.Context(), key)
		require.ErrorContains(t, err, "is not from a Coffer server")
	}
	require.False(t, reached)
}

// A base URL with a wrong path is a distinct error. It must not look as if all entries were missing.
func TestWrongBaseURL(t *testing.T) {
	t.Parallel()
	url, bearer, _ := serve(t)
	_, err := connect(t, url, bearer).Get(t.Context(), "k")
	require.ErrorIs(t, err, client.ErrNotFound)
	c := connect(t, url+"/wrong", bearer)
	_, get := c.Get(t.Context(), "k")
	_, _, head := c.Head(t.Context(), "k")
	require.NotErrorIs(t, c.Delete(t.Context(), "k"), client.ErrNotFound)
	for _, err := range []error{get, head} {
		var failed *client.Error
		require.ErrorAs(t, err, &failed)
		require.Equal(t, []any{"unknown_route", 404}, []any{failed.Code(), failed.Status})
		require.NotErrorIs(t, err, client.ErrNotFound)
	}
}
