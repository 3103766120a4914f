package main_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/kmspeers"
	"github.com/coffer-storage/coffer/server/kms/kmstest"
)

// behind is a KMS, the environment of the program that uses it, and a secret that no output may contain.
type behind struct {
	peer    kmstest.Peer
	environ []string
	secret  string
	provide string // prefix of its URLs
}

func kmss(t *testing.T) map[string]behind {
	vault, aws, azure, google := kmspeers.NewVault(t), kmspeers.NewAWS(t), kmspeers.NewAzure(t), kmspeers.NewGoogle(t)
	certificate, err := kmspeers.CertificateFile(t.TempDir())
	require.NoError(t, err)
	path := strings.Split(kmspeers.GoogleKey, "/")
	return map[string]behind{
		"vault": {vault, []string{"KMS_PROVIDER=vault", "VAULT_ADDR=" + vault.URL, "VAULT_TOKEN=" + vault.Token, "VAULT_KEY_NAME=" + kmspeers.VaultKey}, vault.Token, "hashivault://"},
		"aws": {aws, []string{
			"KMS_PROVIDER=aws", "AWS_REGION=" + aws.Region, "AWS_KMS_KEY_ID=" + kmspeers.AWSAlias, "AWS_ACCESS_KEY_ID=" + aws.AccessKeyID,
			"AWS_SECRET_ACCESS_KEY=" + aws.SecretAccessKey, "AWS_ENDPOINT_URL_KMS=" + aws.URL,
		}, aws.SecretAccessKey, "awskms://"},
		"azure": {azure, []string{
			"KMS_PROVIDER=azure", "AZURE_KEY_VAULT_URL=https://" + azure.Host, "AZURE_KEY_NAME=" + kmspeers.AzureKey, "AZURE_TENANT_ID=" + kmspeers.AzureTenant,
			"AZURE_CLIENT_ID=" + kmspeers.AzureClient, "AZURE_CLIENT_SECRET=" + kmspeers.AzureSecret, "SSL_CERT_FILE=" + certificate,
		}, kmspeers.AzureSecret, "azurekeyvault://"},
		"gcp": {google, []string{
			"KMS_PROVIDER=gcp", "GCP_PROJECT_ID=" + path[1], "GCP_LOCATION=" + path[3], "GCP_KEY_RING=" + path[5], "GCP_KEY_NAME=" + path[7],
			"GOOGLE_APPLICATION_CREDENTIALS=" + google.Credentials(t), "SSL_CERT_FILE=" + certificate, "HTTPS_PROXY=" + proxyTo(t, "cloudkms.googleapis.com:443", google.Endpoint),
		}, "PLANTED", "gcpkms://"},
	}
}

// proxyTo returns the URL of an HTTP proxy that connects requests for one address to another: no variable of Google names an endpoint.
func proxyTo(t *testing.T, asked, address string) string {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		there, err := net.Dial("tcp", address)
		if r.Method != http.MethodConnect || r.Host != asked || err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(there, buffered)
			_ = there.Close()
		}()
		_, _ = io.Copy(here, there)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// It works with the keys in memory and is degraded. A server that starts during the outage waits. A server does not start with another key of
// the same name.
func TestServerSurvivesAnOutageOfTheKMS(t *testing.T) {
	t.Parallel()
	for name, k := range kmss(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, environ := t.TempDir(), append(k.environ, "COFFER_ENVIRONMENT=prod")
			start := []string{"serve", "--data", data, "--listen", "127.0.0.1:0"}
			p := serve(t, data, environ...)
			require.NotContains(t, p.log.String(), "for development")
			require.NoFileExists(t, filepath.Join(data, "master.key"))
			p.put(p.token, "patient", record)

			other := tokenFor(t, environ, data, "clinic") // a tenant with keys that the server has not unwrapped yet
			k.peer.Fail(kmstest.Denied, kmstest.Always)
			status, body := p.do(other, http.MethodPut, "/v1/cache/x?class=phi", "x")
			require.Equal(t, http.StatusServiceUnavailable, status)
			require.Contains(t, body, "kms_denied")
			require.NotContains(t, body, "://", "who asks for a value is not told of the KMS")
			p.requireValue(p.token, "patient", record)
			soon(t, func() bool {
				status, body = p.do("", http.MethodGet, "/readyz", "")
				return status == http.StatusOK && strings.Contains(body, `"degraded":["keyring_unavailable"]`)
			})
			require.Positive(t, p.metric("coffer_kms_failing_seconds"))

			k.peer.Fail(kmstest.Denied, kmstest.Always)
			said := fails(t, program(t, environ, start...))
			require.Contains(t, said, "KMS authentication failed")
			p.requireValue(p.token, "patient", record)

			k.peer.Fail(kmstest.None, 0)
			soon(t, func() bool {
				_, body := p.do("", http.MethodGet, "/readyz", "")
				status, _ := p.do(other, http.MethodPut, "/v1/cache/x?class=phi", "x")
				return status == http.StatusNoContent && !strings.Contains(body, "degraded")
			})
			require.Zero(t, p.stop(syscall.SIGTERM))

			k.peer.Fail(kmstest.Down, kmstest.Always)
			ended := serve(t, data, environ...)
			require.Zero(t, ended.stop(syscall.SIGTERM), "it waited")
			again := serve(t, data, environ...)
			again.logs(k.provide)
			again.answers(http.StatusOK, "", http.MethodGet, "/livez", "")
			for _, path := range []string{"/readyz", "/v1/cache/patient", "/v1/audit", "/metrics"} {
				status, body := again.do(p.token, http.MethodGet, path, "")
				require.Equal(t, http.StatusServiceUnavailable, status)
				require.Regexp(t, `"code":"(keyring_unavailable|timeout)"`, body)
				require.NotContains(t, body, "://")
			}
			k.peer.Fail(kmstest.None, 0)
			again.answers(http.StatusOK, "", http.MethodGet, "/readyz", "")
			again.requireValue(p.token, "patient", record)
			require.Zero(t, again.stop(syscall.SIGTERM))

			k.peer.Recreate()
			said += fails(t, program(t, environ, start...))
			require.Contains(t, said, "created again under the same name")
			require.NotContains(t, said+p.log.String()+again.log.String(), k.secret)
		})
	}
}

func TestServerRenewsAndReloadsTheVaultToken(t *testing.T) {
	t.Parallel()
	vault := kmspeers.NewVault(t)
	const first, second = "hvs.PLANTED-first", "hvs.PLANTED-second"
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) { require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600)) }
	write(first)
	vault.Grant(first, kmspeers.VaultLife{TTL: 4 * time.Second, Period: 4 * time.Second, Slack: time.Hour})
	data, environ := t.TempDir(), []string{
		"KMS_PROVIDER=vault", "VAULT_ADDR=" + vault.URL, "VAULT_TOKEN_FILE=" + file, "VAULT_KEY_NAME=" + kmspeers.VaultKey, "COFFER_ENVIRONMENT=prod",
	}
	p := serve(t, data, environ...)
	soon(t, func() bool { return vault.Renewed(first) >= 3 })
	p.put(tokenFor(t, environ, data, "one"), "patient", record)

	vault.Grant(second, kmspeers.VaultLife{TTL: 4 * time.Second, Max: 5 * time.Second, Slack: time.Hour})
	write(second)
	vault.Revoke(first)
	p.put(tokenFor(t, environ, data, "two"), "patient", record)
	soon(t, func() bool { return strings.Contains(p.log.String(), "its maximum TTL is reached") })
	three := tokenFor(t, append(environ[:2:2], "VAULT_TOKEN="+vault.Token, environ[3], environ[4]), data, "three")
	vault.Revoke(second)
	soon(t, func() bool { // also by the server's clock
		status, body := p.do(three, http.MethodPut, "/v1/cache/x?class=phi", "x")
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Contains(t, body, "kms_denied")
		return strings.Contains(p.log.String(), "KMS authentication failed (Vault answers 403): check the token of Vault, which expired at 20")
	})
	require.Zero(t, p.stop(syscall.SIGTERM))
	require.NotContains(t, p.log.String(), "PLANTED")
}

// A policy can require it.
func TestEveryKMSCallNamesTheEnvironment(t *testing.T) {
	t.Parallel()
	k := kmss(t)["aws"]
	k.peer.(*kmspeers.AWS).RequireContext("coffer-environment", "prod")
	data, environ := t.TempDir(), append(k.environ[:len(k.environ):len(k.environ)], "COFFER_ENVIRONMENT=prod")
	coffer(t, environ, "kms", "check", "--data", data)
	token := tokenFor(t, environ, data, "clinic")
	p := serve(t, data, environ...)
	p.put(token, "patient", record)
	require.Zero(t, p.stop(syscall.SIGTERM))
	again := serve(t, data, environ...)
	again.requireValue(token, "patient", record)
	backup := filepath.Join(t.TempDir(), "backup")
	coffer(t, environ, "keys", "backup", "--data", data, "--out", backup)
	coffer(t, environ, "keys", "drill", "--data", data, "--in", backup)
	to := "awskms:///" + k.peer.(*kmspeers.AWS).ARN() + "?region=" + k.peer.(*kmspeers.AWS).Region
	coffer(t, environ, "keys", "rewrap", "--data", data, "--to", to)
	coffer(t, environ, "audit", "verify", "--data", data)
	require.Contains(t, refused(t, append(environ, "COFFER_ENVIRONMENT=staging"), "", "kms", "check"), "KMS authentication failed")
}

func TestRewrapMovesAMasterKeyIntoAKMS(t *testing.T) {
	t.Parallel()
	k := kmss(t)["vault"]
	data, production := t.TempDir(), "COFFER_ENVIRONMENT=eu-prod"
	local := append([]string{production, "ENCRYPTION_MASTER_KEY=" + masterA}, k.environ[1:3]...)
	said := fails(t, program(t, local, "serve", "--data", data, "--listen", "127.0.0.1:0"))
	require.Contains(t, said, "coffer keys rewrap")
	staged := serve(t, data, "COFFER_ENVIRONMENT=staging", "COFFER_PRODUCTION=false", "ENCRYPTION_MASTER_KEY="+masterA)
	staged.logs("THE KEK IS LOCAL")
	staged.put(staged.token, "patient", record)
	require.Zero(t, staged.stop(syscall.SIGTERM))

	local[0] = "COFFER_ENVIRONMENT=staging"
	to := "hashivault://" + kmspeers.VaultKey
	require.Contains(t, coffer(t, local, "keys", "rewrap", "--data", data, "--to", to, "--dry-run"), "the new KEK works")
	require.Contains(t, coffer(t, local, "keys", "rewrap", "--data", data, "--to", to), "roots wrapped: 2")
	under := append([]string{"COFFER_ENVIRONMENT=staging"}, k.environ...)
	moved := serve(t, data, under...)
	moved.requireValue(staged.token, "patient", record)
	require.Contains(t, coffer(t, local, "keys", "rewrap", "--data", data, "--to", to, "--finish"), "slots retired: 2")
	require.Zero(t, moved.stop(syscall.SIGTERM))
	said = fails(t, program(t, append(local, "COFFER_PRODUCTION=false"), "serve", "--data", data, "--listen", "127.0.0.1:0"))
	require.Contains(t, said, "ENCRYPTION_MASTER_KEY is not the key")
}
