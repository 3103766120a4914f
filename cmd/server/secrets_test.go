package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
)

// marker is in every secret of the test: values, names, contexts, tokens, the master key, Redis' password.
const marker = "pl4nted"

// It calls all operations, with and without Redis, and ends with the stack traces of the process.
func TestPlantedSecretsAppearNowhere(t *testing.T) {
	t.Parallel()
	redisServer := redistest.Start(t)
	redisServer.SetPassword(marker + "-password")
	data := t.TempDir()
	key := "ENCRYPTION_PASSPHRASE=" + marker + " passphrase"
	p := serve(t, data, key, "REDIS_URL=redis://:"+marker+"-password@"+redisServer.Addr, "COFFER_TOKEN_FAILURES=100000")
	operator := strings.TrimPrefix(strings.TrimSpace(coffer(t, []string{key}, "token", "create", "--data", data, "--tenant", "*", "--scopes", "keys:admin,audit:read,metrics:read")), "token: ")
	responseCollector := &responseCollector{t: t, p: p, operator: operator}
	responseCollector.everything()
	responseCollector.tampered(redisServer)
	redisServer.Stop()
	responseCollector.everything()
	redisServer.Restart()
	_, metrics := p.do(p.token, "GET", "/metrics", "")
	require.Contains(t, metrics, "coffer_operations_total")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGQUIT))
	p.wait()
	audit := auditLog(t, data)
	require.Contains(t, p.log.String(), "goroutine ", "it dumped itself")
	require.Contains(t, audit, `"key.open"`)
	require.Greater(t, responseCollector.errors, 30)
	for where, text := range map[string]string{"the log": p.log.String(), "the metrics": metrics, "the audit log": audit, "errors": responseCollector.text.String()} {
		require.NotContains(t, text, marker, where)
		for _, token := range []string{p.token, operator} {
			require.NotContains(t, text, strings.TrimPrefix(token, "coffer_"), where)
		}
	}
}

// responseCollector collects the bodies and headers of responses to failed requests.
type responseCollector struct {
	t        *testing.T
	p        *process
	operator string // a token for every tenant
	text     strings.Builder
	errors   int
}

func (h *responseCollector) send(token, method, path, body string, headers ...string) string {
	h.t.Helper()
	request, err := http.NewRequest(method, h.p.url+path, strings.NewReader(body))
	require.NoError(h.t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	status, answer, header := h.p.answer(request)
	if status >= 400 {
		h.errors++
		fmt.Fprintln(&h.text, answer, header)
	}
	return answer
}

// everything sends valid and invalid requests to each operation that has parameters.
func (h *responseCollector) everything() {
	const asJSON = "application/json"
	good, context := h.p.token, `{"patient":"`+marker+`"}`
	for _, token := range []string{good, "coffer_" + marker, marker, good + marker} {
		for _, query := range []string{"?class=phi", "?class=" + marker, "?class=phi&ttl=" + marker, "?" + marker + "=1", "?class=phi&ttl=99h"} {
			h.send(token, "PUT", "/v1/cache/"+marker+query, marker, "Coffer-Context", context, "Content-Type", "text/"+marker)
			h.send(token, "PUT", "/v1/cache/"+marker+query, marker, "Coffer-Context", marker, "If-Match", marker)
		}
		for _, method := range []string{"GET", "HEAD", "PATCH", "DELETE", "POST", "OPTIONS"} {
			h.send(token, method, "/v1/cache/"+marker, marker)
			h.send(token, method, "/v1/cache/"+marker+"?ttl=1h&"+marker, marker, "If-None-Match", marker, "Accept", marker)
			h.send(token, method, "/v1/"+marker, marker)
		}
		h.send(token, "GET", "/v1/cache?prefix="+marker+"&cursor="+marker, "")
		for _, body := range []string{`{"operations":[{"op":"get","key":"` + marker + `"}]}`, `{"operations":[{"op":"` + marker + `","key":"x"}]}`, marker} {
			h.send(token, "POST", "/v1/cache:batch", body, "Content-Type", asJSON)
		}
		for _, path := range []string{"/v1/encrypt", "/v1/decrypt", "/v1/sessions", "/v1/encrypt:batch", "/v1/decrypt:batch"} {
			for _, body := range []string{marker, `{"text":"` + marker + `","class":"phi","context":` + context + `}`, `{"` + marker + `":1}`, `{"data":{"` + marker + `":"` + marker + `"}}`} {
				h.send(token, "POST", path, body, "Content-Type", asJSON)
			}
		}
		h.send(token, "GET", "/v1/session", "", "Coffer-Session", marker)
		h.administration(token, marker)
	}
	h.administration(h.operator, "default") // the audit log names tenants
	pkg := h.send(good, "POST", "/v1/encrypt", `{"text":"`+marker+`","class":"phi","context":`+context+`}`, "Content-Type", asJSON)
	h.send(good, "POST", "/v1/decrypt", strings.Replace(pkg, `"ciphertext":"`, `"ciphertext":"AAAA`, 1), "Content-Type", asJSON)
	h.send(good, "POST", "/v1/decrypt?min_class=phi", pkg, "Content-Type", asJSON)
	var made struct{ ID string }
	if json.Unmarshal([]byte(h.send(good, "POST", "/v1/sessions", `{"data":{"x":"`+marker+`"}}`, "Content-Type", asJSON)), &made) == nil && made.ID != "" {
		h.send(good, "GET", "/v1/session", "", "Coffer-Session", made.ID)
		h.send(good, "DELETE", "/v1/session", "", "Coffer-Session", made.ID)
		h.send(good, "GET", "/v1/session", "", "Coffer-Session", made.ID)
	}
}

// administration sends valid and invalid requests to the operations on keys and on the audit log.
func (h *responseCollector) administration(token, tenant string) {
	for _, more := range []string{"", "class=" + marker, marker + "=1", "cursor=" + marker, "severity=" + marker, "since=" + marker, "action=" + marker} {
		query := "?tenant=" + tenant + "&" + more
		for _, path := range []string{"/v1/keys", "/v1/rotations", "/v1/audit", "/v1/audit/head"} {
			h.send(token, "GET", path+query, "")
		}
	}
	for _, verb := range []string{"rotate", "rollback", "disable", "destroy", "shred"} {
		for _, member := range []string{"class", "reason", "compromised", "use", "key", "confirm", marker} {
			h.send(token, "POST", "/v1/keys:"+verb, `{"tenant":"`+tenant+`","`+member+`":"`+marker+`"}`, "Content-Type", "application/json", "X-Request-Id", marker)
		}
		h.send(token, "POST", "/v1/keys:"+verb, marker)
	}
	for _, verb := range []string{"disable", "destroy"} {
		key := `{"tenant":"` + tenant + `","use":"cache","class":"phi","confirm":"` + marker + `","key":"`
		h.send(token, "POST", "/v1/keys:"+verb, key+marker+`"}`, "Content-Type", "application/json")
		h.send(token, "POST", "/v1/keys:"+verb, key+strings.Repeat("0", 64)+`"}`, "Content-Type", "application/json")
	}
}

// tampered alters the values in Redis and reads them.
func (h *responseCollector) tampered(server *redistest.Server) {
	client := redis.NewClient(&redis.Options{Addr: server.Addr, Password: marker + "-password"})
	defer client.Close()
	h.send(h.p.token, "PUT", "/v1/cache/"+marker+"?class=phi", marker)
	keys, err := client.Keys(h.t.Context(), "*").Result()
	require.NoError(h.t, err)
	require.NotEmpty(h.t, keys)
	for _, key := range keys {
		value, err := client.Get(h.t.Context(), key).Bytes()
		require.NoError(h.t, err)
		require.NotContains(h.t, string(value), marker, "it is sealed")
		value[len(value)-1] ^= 1
		require.NoError(h.t, client.Set(h.t.Context(), key, value, 0).Err())
	}
	require.Contains(h.t, h.send(h.p.token, "GET", "/v1/cache/"+marker, ""), "authentication_failed")
}
