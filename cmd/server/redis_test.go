package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
)

// certificate writes a self-signed certificate for 127.0.0.1, and returns the paths of it and of its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return cert, key
}

// The user is one of an ACL, with a password from a file.
func TestRedisOverTLSNeedsATrustedCertificate(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	_, port, err := net.SplitHostPort(redistest.FreeAddr(t))
	require.NoError(t, err)
	redis := redistest.Start(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
	require.NoError(t, redis.Client(t).Do(t.Context(), "acl", "setuser", "app", "on", ">pl4nted", "~*", "&*", "+@all").Err())
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("pl4nted\n"), 0o600))
	environ := []string{"REDIS_HOST=127.0.0.1", "REDIS_PORT=" + port, "REDIS_TLS=true", "REDIS_USERNAME=app", "REDIS_PASSWORD_FILE=" + password}

	p := serve(t, t.TempDir(), append(environ, "SSL_CERT_FILE="+cert)...)
	p.put(p.token, "k", record)
	p.requireValue(p.token, "k", record)
	require.Zero(t, p.stop(syscall.SIGTERM))
	onlyKey(t, redis, "default")

	stranger := serve(t, t.TempDir(), environ...)
	requireDown(t, stranger)
	require.NotContains(t, p.log.String()+stranger.log.String(), "pl4nted")
}

func TestServerUsesTheMasterBehindSentinels(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	p := serve(t, t.TempDir(), "REDIS_SENTINEL_ADDRS="+redistest.StartSentinel(t, redis, "coffer"), "REDIS_MASTER_NAME=coffer", "REDIS_DB=2")
	p.put(p.token, "k", record)
	p.requireValue(p.token, "k", record)
	keyspace := redis.Client(t).Info(t.Context(), "keyspace").Val()
	require.Contains(t, keyspace, "db2:keys=")
	require.NotContains(t, keyspace, "db0:")
}

func TestServerUsesARedisCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	p := serve(t, t.TempDir(), "REDIS_CLUSTER_ADDRS="+cluster.Options().Addrs[1])
	for _, key := range []string{"a", "b", "c", "d"} { // of several servers
		p.put(p.token, key, record)
		p.requireValue(p.token, key, record)
	}
}
