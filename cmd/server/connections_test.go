package main_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConnectionsWithoutATokenCannotUseUpFiles(t *testing.T) {
	t.Parallel()
	cmd := program(t, nil, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir())
	cmd.Args = append([]string{"sh", "-c", `ulimit -n 256 && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	p := start(t, cmd)
	p.put(p.token, "k", record)
	for range 400 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
	}
	request, err := http.NewRequest("GET", p.url+"/v1/cache/k", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+p.token)
	answer, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	require.NoError(t, err, "a new connection")
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	soon(t, func() bool { return p.metric("coffer_connections_closed_total") > 200 })
	require.LessOrEqual(t, p.metric("coffer_connections"), 192.0)
	p.requireValue(p.token, "k", record)
	p.logs("there are too many connections")
	require.NotContains(t, p.log.String(), "too many open files")
}
