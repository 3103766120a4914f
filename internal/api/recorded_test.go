package api_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/shared/classify"
)

// Reading a stored package, listing, changing a TTL and deleting are recorded before the response is sent.
func TestEntriesAreRecorded(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	put := func() {
		s.do("PUT", "/v1/cache/patient?class=phi", []byte("v"), "Coffer-Context", `{"ward":"7"}`).is(t, 204)
	}
	put()
	atRest := []string{"Accept", "application/vnd.coffer.package"}
	remove := []byte(`{"operations":[{"op":"delete","key":"patient"},{"op":"delete","key":"missing"}]}`)
	json := []string{"Content-Type", "application/json"}
	for _, row := range []struct {
		name, method, path string
		body               []byte
		headers            []string
		status             int
		event              string // action, operation, name, class, facts
		more               []string
	}{
		{"at rest", "GET", "/v1/cache/patient", nil, atRest, 200, "entry.read getEntry patient phi map[] true", nil},
		{"head", "HEAD", "/v1/cache/patient", nil, nil, 200, "entry.read headEntry patient phi map[] true", nil},
		{"head at rest", "HEAD", "/v1/cache/patient", nil, atRest, 200, "entry.read headEntry patient phi map[] true", nil},
		{"list", "GET", "/v1/cache?prefix=pat", nil, nil, 200, "entry.list listEntries pat  map[done:1] false", nil},
		{"list all", "GET", "/v1/cache", nil, nil, 200, "entry.list listEntries   map[done:1] false", nil},
		{"ttl", "PATCH", "/v1/cache/patient?ttl=1h", nil, nil, 204, "entry.expire patchEntry patient  map[] false", nil},
		{"delete", "DELETE", "/v1/cache/patient", nil, nil, 204, "entry.delete deleteEntry patient  map[] false", nil},
		{"delete nothing", "DELETE", "/v1/cache/missing", nil, nil, 404, "entry.delete deleteEntry missing  map[] false", nil},
		{"batch", "POST", "/v1/cache:batch", remove, json, 200, "entry.delete batchEntries patient  map[] false", []string{"entry.delete batchEntries missing  map[] false"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			put()
			s.audit.take()
			s.audit.fail(audit.ErrUnavailable)
			if refused := s.do(row.method, row.path, row.body, row.headers...); row.name == "batch" {
				require.Contains(t, string(refused.body), "audit_unavailable")
			} else {
				refused.is(t, 503)
			}
			s.audit.fail(nil)
			s.audit.take()
			s.do("GET", "/v1/cache/patient", nil).is(t, 200)
			s.audit.take()
			s.do(row.method, row.path, row.body, row.headers...).is(t, row.status)
			var events []string
			for _, e := range s.audit.take() {
				facts := map[string]string{}
				for fact, value := range e.Facts {
					if fact == audit.FactDone {
						facts["done"] = value
					}
				}
				class := ""
				if e.Class != 0 {
					class = e.Class.String()
					require.Equal(t, classify.PHI, e.Class)
					require.Equal(t, map[string]string{"ward": "7"}, e.Context)
				}
				events = append(events, fmt.Sprint(e.Action, " ", e.Operation, " ", e.Name, " ", class, " ", facts, " ", e.KeyID != [32]byte{}))
				require.Equal(t, audit.Info, e.Severity())
				require.Equal(t, "default", e.Tenant)
				require.NotEmpty(t, e.Subject)
			}
			require.Equal(t, append([]string{row.event}, row.more...), events)
		})
	}
}

// A rotation that was accepted is not recorded as failed, even if its request returns an error. One that was not accepted is.
func TestAcceptedRotationIsNotRecordedAsFailed(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		from   int // the first write of the tenant's rotation that fails
		status int
		failed bool
	}{{"accepted", 2, 200, false}, {"not accepted", 1, 503, true}} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, embedded(t), nil)
			s.do("PUT", "/v1/cache/k?class=phi", []byte("v")).is(t, 204)
			writes := 0
			s.rotator.Keystore = keystoretest.NewFaultyStore(s.keys, func(w keystoretest.Write) keystoretest.Fault {
				if w.Kind != keystore.Rotations {
					return keystoretest.NoFault
				}
				if writes++; writes < row.from {
					return keystoretest.NoFault
				}
				return keystoretest.FailBefore
			})
			s.audit.take()
			s.changeKeys(s.token, "rotate", nil).is(t, row.status)
			require.GreaterOrEqual(t, writes, row.from)
			failed := false
			for _, e := range s.audit.take() {
				failed = failed || e.Code != ""
			}
			require.Equal(t, row.failed, failed)
		})
	}
}
