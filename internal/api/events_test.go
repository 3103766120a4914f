package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
)

type recorded struct {
	Seq                            uint64
	Action, Tenant, Severity, Time string
}

// openTrail begins an audit log on the disk.
func openTrail(t *testing.T, dir string) (*audit.File, *audit.Reader) {
	t.Helper()
	key := audit.NewKey(new(secret.Key))
	path := filepath.Join(dir, "audit")
	file, err := audit.Open(path, key, audit.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	return file, audit.NewReader(path, key)
}

func (k *checker) events(query, bearer string) (all []recorded, cursor string) {
	k.t.Helper()
	var page struct {
		Events []recorded
		Cursor string
	}
	require.NoError(k.t, json.Unmarshal(k.call(true, "GET", "/v1/audit"+query, nil, "Authorization", "Bearer "+bearer).body, &page))
	return page.Events, page.Cursor
}

// Everyone sees the events of their own tenant, the newest first and page by page; an operator sees all.
func conformEvents(t *testing.T, k *checker) {
	log := k.trail
	for i := range 10 {
		tenant := []string{"default", "other"}[i%2]
		require.NoError(t, log.Record(t.Context(), audit.Event{Action: audit.KeyOpen, Tenant: tenant, Class: classify.PHI, Name: "pl4nted", Context: map[string]string{"a": "pl4nted"}}))
	}
	require.NoError(t, log.Record(t.Context(), audit.Event{Action: audit.KeyOpen, Tenant: "default", Class: classify.PII, Code: "authentication_failed"}))
	require.NoError(t, log.Record(t.Context(), audit.Event{Action: audit.ServerStart}))
	operator := k.issue(identity.EveryTenant, identity.AuditRead)
	all, _ := k.events("", operator)
	require.Len(t, all, 12)
	require.Equal(t, "server.start", all[0].Action)
	for i := range all[1:] {
		require.Less(t, all[i+1].Seq, all[i].Seq)
	}
	mine, _ := k.events("", k.token)
	require.Len(t, mine, 6)
	for _, one := range mine {
		require.Equal(t, "default", one.Tenant)
	}
	var paged []recorded
	for query := "?limit=2"; ; {
		some, cursor := k.events(query, k.token)
		require.LessOrEqual(t, len(some), 2)
		if paged = append(paged, some...); cursor == "" {
			break
		}
		query = "?limit=2&cursor=" + cursor
	}
	require.Equal(t, mine, paged)
	for query, n := range map[string]int{
		"?tenant=other": 5, "?tenant=default": 6, "?tenant=default&class=pii": 1, "?tenant=nobody": 0, "?severity=critical": 1, "?severity=notice": 2, "?class=pii": 1, "?class=phi": 10, "?action=key.": 11, "?action=key.open": 11, "?action=key": 0, "?action=server.start": 1,
		"?since=" + url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339)): 0, "?since=2025-01-15T00:00:00Z": 12,
	} {
		some, _ := k.events(query, operator)
		require.Len(t, some, n, query)
	}
	for _, query := range []string{"?severity=x", "?class=x", "?since=yesterday", "?cursor=0", "?cursor=x", "?limit=0", "?tenant=*", "?tenant="} {
		got := k.call(false, "GET", "/v1/audit"+query, nil)
		require.Equal(t, 400, got.StatusCode, query)
	}
	own, _ := k.events("?tenant=default", k.token)
	require.Equal(t, mine, own)
	k.call(false, "GET", "/v1/audit?tenant=other", nil).refused(t, "forbidden")
	soon(t, func() bool {
		var head struct{ Head string }
		require.NoError(t, json.Unmarshal(k.call(true, "GET", "/v1/audit/head", nil).body, &head))
		return strings.HasPrefix(head.Head, "1:12:")
	})
	require.NotContains(t, fmt.Sprint(string(k.call(true, "GET", "/v1/audit", nil).body)), "pl4nted")
}
