package kmspeers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// CertificateFile writes the certificate of the peers that speak TLS, for the variable SSL_CERT_FILE of a process that
// must trust them.
func CertificateFile(dir string) (string, error) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	path := filepath.Join(dir, "peers.pem")
	var text []byte
	for _, certificate := range [][]byte{server.Certificate().Raw, googleCertificate().Certificate[0]} {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})...)
	}
	return path, os.WriteFile(path, text, 0o600)
}

// googleCertificate is valid for this machine and for the host of Cloud KMS, for clients that a proxy redirects to the
// peer.
var googleCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"cloudkms.googleapis.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	raw, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
})

// Main runs the tests of a package in a process that trusts the peers. Call it from TestMain, before the system roots
// are loaded.
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		panic(err)
	}
	path, err := CertificateFile(dir)
	if err != nil {
		panic(err)
	}
	if err := os.Setenv("SSL_CERT_FILE", path); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
