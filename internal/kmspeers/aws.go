package kmspeers

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/coffer-storage/coffer/server/kms/kmstest"
)

// AWS is a fake AWS KMS in one region (AWS JSON 1.1, Signature Version 4), with the aliases coffer-key and other-key.
type AWS struct {
	kmstest.Faults
	URL, Region, AccessKeyID, SecretAccessKey string

	mu       sync.Mutex
	aliases  map[string]string  // to ARNs
	keys     map[string]*awsKey // by ARN
	last     map[string]string  // the encryption context of the last request
	required [2]string          // name and value that it must have; no condition if the name is empty
}

var _ kmstest.Peer = (*AWS)(nil)

// AWSAlias is the alias of the key of Recreate and Disable.
const AWSAlias = "alias/coffer-key"

type awsKey struct {
	aead     cipher.AEAD
	disabled bool
}

// NewAWS starts a server, which stops when the test ends.
func NewAWS(t testing.TB) *AWS {
	a := &AWS{
		Region: "eu-central-1", AccessKeyID: "AKIAPLANTED0", SecretAccessKey: "PLANTED/secret/access/key",
		aliases: map[string]string{}, keys: map[string]*awsKey{},
	}
	a.create(AWSAlias)
	a.create("alias/other-key")
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	a.URL = server.URL
	return a
}

func (a *AWS) create(alias string) {
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	arn := fmt.Sprintf("arn:aws:kms:%s:111122223333:key/%x-%x-%x-%x-%x", a.Region, id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	a.aliases[alias], a.keys[arn] = arn, &awsKey{aead: newAEAD()}
}

// Recreate creates another key and moves the alias to it.
func (a *AWS) Recreate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.create(AWSAlias)
}

// Disable implements kmstest.Peer.
func (a *AWS) Disable() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[a.aliases[AWSAlias]].disabled = true
}

// ARN returns the ARN of the key with the alias AWSAlias.
func (a *AWS) ARN() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.aliases[AWSAlias]
}

// Context returns the encryption context of the last request, which CloudTrail would show.
func (a *AWS) Context() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// RequireContext sets a policy of the key that permits Encrypt and Decrypt only if the encryption context has a value
// under a name.
func (a *AWS) RequireContext(name, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.required = [2]string{name, value}
}

type awsRequest struct {
	KeyID             string `json:"KeyId"`
	Plaintext         []byte
	CiphertextBlob    []byte
	EncryptionContext map[string]string
}

// ServeHTTP implements http.Handler.
func (a *AWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := a.NextHTTP(r)
	body, _ := io.ReadAll(r.Body)
	switch {
	case fault == kmstest.Throttled:
		awsError(w, 400, "ThrottlingException", "Rate exceeded")
		return
	case fault == kmstest.Failing:
		awsError(w, 500, "KMSInternalException", "")
		return
	case !a.signed(r, body):
		awsError(w, 400, "UnrecognizedClientException", "The security token included in the request is invalid: "+r.Header.Get("Authorization"))
		return
	case fault == kmstest.Denied:
		awsError(w, 400, "AccessDeniedException", "User: "+a.AccessKeyID+" is not authorized")
		return
	}
	var request awsRequest
	if json.Unmarshal(body, &request) != nil {
		awsError(w, 400, "SerializationException", "")
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = request.EncryptionContext
	arn := request.KeyID
	if strings.HasPrefix(arn, "alias/") {
		arn = a.aliases[arn]
	}
	k := a.keys[arn]
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	switch {
	case k == nil:
		awsError(w, 400, "NotFoundException", "")
	case operation == "DescribeKey":
		awsAnswer(w, map[string]any{"KeyMetadata": map[string]any{"Arn": arn, "KeyId": arn[strings.LastIndexByte(arn, '/')+1:], "Enabled": !k.disabled}})
	case k.disabled:
		awsError(w, 400, "DisabledException", "")
	case a.required[0] != "" && request.EncryptionContext[a.required[0]] != a.required[1]:
		awsError(w, 400, "AccessDeniedException", "no resource-based policy allows it")
	case operation == "Encrypt":
		k.encrypt(w, arn, &request)
	case operation == "Decrypt":
		k.decrypt(w, arn, &request)
	default:
		awsError(w, 400, "UnknownOperationException", "")
	}
}

// encrypt writes the hash of the ARN into the ciphertext, so that decrypt can distinguish a wrong key from an altered
// ciphertext, as KMS does.
func (k *awsKey) encrypt(w http.ResponseWriter, arn string, request *awsRequest) {
	if len(request.Plaintext) < 1 || len(request.Plaintext) > 4096 {
		awsError(w, 400, "ValidationException", "")
		return
	}
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce)
	bound, _ := json.Marshal(request.EncryptionContext)
	head := sha256.Sum256([]byte(arn))
	blob := k.aead.Seal(append(head[:], nonce...), nonce, request.Plaintext, bound)
	awsAnswer(w, map[string]any{"CiphertextBlob": blob, "KeyId": arn, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})
}

func (k *awsKey) decrypt(w http.ResponseWriter, arn string, request *awsRequest) {
	blob, head := request.CiphertextBlob, sha256.Sum256([]byte(arn))
	if len(blob) < 32+12+16 {
		awsError(w, 400, "InvalidCiphertextException", "")
		return
	}
	if !bytes.Equal(blob[:32], head[:]) {
		awsError(w, 400, "IncorrectKeyException", "")
		return
	}
	bound, _ := json.Marshal(request.EncryptionContext)
	plain, err := k.aead.Open(nil, blob[32:44], blob[44:], bound)
	if err != nil {
		awsError(w, 400, "InvalidCiphertextException", "")
		return
	}
	awsAnswer(w, map[string]any{"Plaintext": plain, "KeyId": arn, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})
}

// signed reports whether the signature of a request is correct (Signature Version 4).
func (a *AWS) signed(r *http.Request, body []byte) bool {
	given := r.Header.Get("Authorization")
	_, names, _ := strings.Cut(given, "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return false
	}
	again, _ := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	for name := range strings.SplitSeq(names, ";") {
		if name != "host" && name != "content-length" {
			again.Header.Set(name, r.Header.Get(name))
		}
	}
	sum := sha256.Sum256(body)
	credentials := aws.Credentials{AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey}
	err = v4.NewSigner().SignHTTP(r.Context(), credentials, again, hex.EncodeToString(sum[:]), "kms", a.Region, at)
	return err == nil && again.Header.Get("Authorization") == given
}

func awsAnswer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(body)
}

func awsError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
}
