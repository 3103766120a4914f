package kmspeers

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/coffer-storage/coffer/server/kms/kmstest"
)

// GoogleKey is the key of Recreate and Disable. GoogleOther is another key.
const (
	GoogleKey     = "projects/coffer-test/locations/europe-west3/keyRings/ring/cryptoKeys/coffer-key"
	GoogleOther   = "projects/coffer-test/locations/europe-west3/keyRings/ring/cryptoKeys/other-key"
	googleAccount = "coffer@coffer-test.iam.gserviceaccount.com"
)

// Google is a fake Cloud KMS over gRPC. It speaks TLS; see Main.
type Google struct {
	kmspb.UnimplementedKeyManagementServiceServer
	kmstest.Faults
	Endpoint string // address and port

	mu    sync.Mutex
	keys  map[string][]googleVersion // the last version is the primary
	conns *connections
	last  []byte // the additional data of the last request

	corruptRequests, corruptAnswers int // how many more to corrupt
}

var _ kmstest.Peer = (*Google)(nil)

type googleVersion struct {
	aead  cipher.AEAD
	state string
}

// NewGoogle starts a service, which stops when the test ends.
func NewGoogle(t testing.TB) *Google {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &Google{
		Endpoint: listener.Addr().String(), conns: &connections{Listener: listener},
		keys: map[string][]googleVersion{GoogleKey: {{newAEAD(), "ENABLED"}}, GoogleOther: {{newAEAD(), "ENABLED"}}},
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{googleCertificate()}, MinVersion: tls.VersionTLS12})))
	kmspb.RegisterKeyManagementServiceServer(server, g)
	go func() { _ = server.Serve(g.conns) }()
	t.Cleanup(server.Stop)
	return g
}

// Credentials writes the credentials file of a service account, for GOOGLE_APPLICATION_CREDENTIALS, and returns its
// path.
func (g *Google) Credentials(t testing.TB) string {
	private, err := x509.MarshalPKCS8PrivateKey(rsaKeys()[0])
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "coffer-test", "client_email": googleAccount, "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "token_uri": "https://" + g.Endpoint + "/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "PLANTED-account.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Recreate destroys the version of the key and creates another: Cloud KMS never permits to create a key again under the
// same name.
func (g *Google) Recreate() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys[GoogleKey][0].state = "DESTROYED"
	g.keys[GoogleKey] = append(g.keys[GoogleKey], googleVersion{newAEAD(), "ENABLED"})
}

// Rotate adds a version to the key and makes it the primary.
func (g *Google) Rotate() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys[GoogleKey] = append(g.keys[GoogleKey], googleVersion{newAEAD(), "ENABLED"})
}

// Disable implements kmstest.Peer.
func (g *Google) Disable() { g.setState("DISABLED") }

// Destroy destroys all versions of the key.
func (g *Google) Destroy() { g.setState("DESTROYED") }

func (g *Google) setState(state string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.keys[GoogleKey] {
		g.keys[GoogleKey][i].state = state
	}
}

// Corrupt flips a bit in the next requests to encrypt and the next answers.
func (g *Google) Corrupt(requests, answers int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.corruptRequests, g.corruptAnswers = requests, answers
}

// damage flips a bit if a corruption is due.
func damage(b []byte, left *int) {
	if *left > 0 {
		*left--
		b[0] ^= 1
	}
}

// Bound returns the additional data of the last request.
func (g *Google) Bound() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// Encrypt implements the service of Cloud KMS.
func (g *Google) Encrypt(ctx context.Context, r *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	if err := g.fault(ctx); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = r.AdditionalAuthenticatedData
	n := len(g.keys[r.Name])
	version, err := g.version(r.Name, n)
	if err != nil {
		return nil, err
	}
	damage(r.Plaintext, &g.corruptRequests)
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce)
	sealed := binary.BigEndian.AppendUint32(nil, uint32(n))
	sealed = version.aead.Seal(append(sealed, nonce...), nonce, r.Plaintext, r.AdditionalAuthenticatedData)
	answer := &kmspb.EncryptResponse{
		Name: googleName(r.Name, n), Ciphertext: sealed, CiphertextCrc32C: crc32c(sealed),
		VerifiedPlaintextCrc32C:                   r.PlaintextCrc32C.GetValue() == crc32c(r.Plaintext).Value,
		VerifiedAdditionalAuthenticatedDataCrc32C: r.AdditionalAuthenticatedDataCrc32C.GetValue() == crc32c(r.AdditionalAuthenticatedData).Value,
	}
	damage(sealed, &g.corruptAnswers)
	return answer, nil
}

// Decrypt implements the service of Cloud KMS.
func (g *Google) Decrypt(ctx context.Context, r *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	if err := g.fault(ctx); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = r.AdditionalAuthenticatedData
	if r.CiphertextCrc32C.GetValue() != crc32c(r.Ciphertext).Value {
		return nil, status.Error(codes.InvalidArgument, "the checksum in field ciphertext_crc32c did not match")
	}
	if len(r.Ciphertext) < 16 {
		return nil, status.Error(codes.InvalidArgument, "Decryption failed")
	}
	n := int(binary.BigEndian.Uint32(r.Ciphertext))
	if n < 1 || n > len(g.keys[r.Name]) {
		return nil, status.Error(codes.InvalidArgument, "Decryption failed: verify that 'name' refers to the correct CryptoKey.")
	}
	version, err := g.version(r.Name, n)
	if err != nil {
		return nil, err
	}
	plain, err := version.aead.Open(nil, r.Ciphertext[4:16], r.Ciphertext[16:], r.AdditionalAuthenticatedData)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "Decryption failed: the ciphertext is invalid.")
	}
	answer := &kmspb.DecryptResponse{Plaintext: plain, PlaintextCrc32C: crc32c(plain)}
	damage(plain, &g.corruptAnswers)
	return answer, nil
}

// version returns a version that may be used. g.mu must be held.
func (g *Google) version(key string, n int) (googleVersion, error) {
	if n == 0 {
		return googleVersion{}, status.Errorf(codes.NotFound, "CryptoKey %s not found.", key)
	}
	version := g.keys[key][n-1]
	if version.state != "ENABLED" {
		return version, status.Errorf(codes.FailedPrecondition, "%s is not enabled, current state is: %s.", googleName(key, n), version.state)
	}
	return version, nil
}

func googleName(key string, n int) string { return fmt.Sprintf("%s/cryptoKeyVersions/%d", key, n) }

func crc32c(b []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))))
}

// fault returns the error of the fault of the test, or of a call without the signature of the service account.
func (g *Google) fault(ctx context.Context) error {
	switch g.Next() {
	case kmstest.Denied:
		return status.Error(codes.PermissionDenied, "Permission denied on PLANTED (or it may not exist).")
	case kmstest.Throttled:
		return status.Error(codes.ResourceExhausted, "Quota exceeded for PLANTED")
	case kmstest.Failing:
		return status.Error(codes.Internal, "PLANTED internal error")
	case kmstest.Down:
		g.conns.drop()
		return status.Error(codes.Unavailable, "PLANTED")
	case kmstest.Slow:
		<-ctx.Done()
		return ctx.Err()
	}
	if err := authenticate(ctx); err != nil {
		return status.Error(codes.Unauthenticated, "PLANTED invalid authentication credentials")
	}
	return nil
}

// authenticate accepts JWTs that the service account has signed (RFC 7523).
func authenticate(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	token := strings.TrimPrefix(strings.Join(md.Get("authorization"), ""), "Bearer ")
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return err
	}
	payload, err := signed.Verify(&rsaKeys()[0].PublicKey)
	if err != nil {
		return err
	}
	var claims struct {
		Iss string
		Exp int64
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return err
	}
	if claims.Iss != googleAccount || claims.Exp < time.Now().Unix() {
		return fmt.Errorf("not a token of %s", googleAccount)
	}
	return nil
}

// connections is a listener that records its connections.
type connections struct {
	net.Listener
	mu   sync.Mutex
	open []net.Conn
}

// Accept implements net.Listener.
func (c *connections) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.open = append(c.open, conn)
		c.mu.Unlock()
	}
	return conn, err
}

// drop closes all connections.
func (c *connections) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		_ = conn.Close()
	}
	c.open = nil
}
