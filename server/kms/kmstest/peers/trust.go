package peers

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// CertificateFile writes the certificate of the peers that speak TLS, for SSL_CERT_FILE of a process that is to trust them.
func CertificateFile(dir string) (string, error) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	path := filepath.Join(dir, "peers.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return path, os.WriteFile(path, text, 0o600)
}

// Main runs tests that trust the peers in this process. It is for TestMain, before anything asks for the system's roots.
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
