package main_test

import (
	"bytes"
	"net/http"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
)

const disabled = `"code":"encryption_disabled"`

func TestUnencryptedAndEncryptedServersRefuseEachOthersValues(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	data := t.TempDir()
	address := "REDIS_URL=redis://" + redis.Addr
	off := serve(t, data, address, "ENCRYPTION_ENABLED=false")
	require.Contains(t, off.log.String(), "STORED IN THE CLEAR")
	off.put(off.token, "plain", record)
	off.requireValue(off.token, "plain", record)
	value, err := redis.Client(t).Get(t.Context(), "coffer/default/cache/plain").Bytes()
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(value, []byte("coffer: NOT ENCRYPTED\n")))
	require.Contains(t, string(value), record)
	_, metrics := off.do(off.token, "GET", "/metrics", "")
	require.Contains(t, metrics, "\ncoffer_encryption_enabled 0\n")
	_, ready := off.do("", "GET", "/readyz", "")
	require.Contains(t, ready, `"degraded":["encryption_disabled"]`)
	for path, body := range map[string]string{
		"/v1/encrypt": `{"class":"phi","text":"t"}`, "/v1/encrypt:batch": `{"items":[]}`, "/v1/decrypt": `{}`, "/v1/decrypt:batch": `{"items":[]}`,
	} {
		t.Run(path, func(t *testing.T) {
			status, problem := off.do(off.token, "POST", path, body)
			require.Equal(t, http.StatusConflict, status, path)
			require.Contains(t, problem, disabled, path)
		})
	}
	require.Contains(t, storedPackage(t, off, "plain"), disabled, "there is no package")
	require.Zero(t, off.stop(syscall.SIGTERM))
	log := auditLog(t, data)
	require.NotContains(t, log, `"action":"key.`, "no key was used")

	on := serve(t, data, address)
	requireDisabled(t, on, off.token, "plain")
	on.put(off.token, "sealed", record)
	_, metrics = on.do(off.token, "GET", "/metrics", "")
	require.Contains(t, metrics, "\ncoffer_encryption_enabled 1\n")
	require.Zero(t, on.stop(syscall.SIGTERM))

	again := serve(t, data, address, "ENCRYPTION_ENABLED=false")
	requireDisabled(t, again, off.token, "sealed")
	again.requireValue(off.token, "plain", record)
}

// requireDisabled checks that an entry exists, and that no operation reads it.
func requireDisabled(t *testing.T, p *process, token, key string) {
	t.Helper()
	for _, request := range [][3]string{
		{"GET", "/v1/cache/" + key, ""}, {"PATCH", "/v1/cache/" + key + "?ttl=1m", ""},
		{"POST", "/v1/cache:batch", `{"operations":[{"op":"get","key":"` + key + `"}]}`},
	} {
		_, body := p.do(token, request[0], request[1], request[2])
		require.Contains(t, body, disabled, request[0])
		require.NotContains(t, body, record)
	}
	status, _ := p.do(token, "HEAD", "/v1/cache/"+key, "")
	require.Equal(t, http.StatusConflict, status)
}

// storedPackage requests the package of an entry.
func storedPackage(t *testing.T, p *process, key string) string {
	t.Helper()
	request, err := http.NewRequest("GET", p.url+"/v1/cache/"+key, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+p.token)
	request.Header.Set("Accept", "application/vnd.coffer.package")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	require.NoError(t, err)
	return body.String()
}

func TestProductionRefusesUnencryptedValues(t *testing.T) {
	t.Parallel()
	said := fails(t, program(t, []string{"ENCRYPTION_ENABLED=false", "COFFER_ENVIRONMENT=prod"}, "serve", "--data", t.TempDir()))
	require.Contains(t, said, "ENCRYPTION_ENABLED is false, which must not be used in production")
}
