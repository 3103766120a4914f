package gcpkms

import (
	"context"
	"fmt"
	"hash/crc32"
	"strings"

	cloudkms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// key implements kms.Driver for a symmetric key.
type key struct {
	client *cloudkms.KeyManagementClient
	name   string // projects/…/cryptoKeys/KEY
}

var _ kms.Driver = (*key)(nil)

// errGarbled means that a request or an answer changed in transit.
var errGarbled = fmt.Errorf("%w (the checksums of the answer of Cloud KMS are wrong)", kms.ErrUnavailable)

func (k *key) URL() string { return "gcpkms://" + k.name }

func (k *key) Advice() string {
	return "GOOGLE_APPLICATION_CREDENTIALS, and that this service account has roles/cloudkms.cryptoKeyEncrypterDecrypter on the key, that the key exists, and " +
		"that the Cloud KMS API is enabled in the project"
}

func (k *key) Encrypt(ctx context.Context, plain, additionalData []byte) ([]byte, string, error) {
	answer, err := k.client.Encrypt(ctx, &kmspb.EncryptRequest{
		Name: k.name, Plaintext: plain, PlaintextCrc32C: checksum(plain),
		AdditionalAuthenticatedData: additionalData, AdditionalAuthenticatedDataCrc32C: checksum(additionalData),
	})
	if err != nil {
		return nil, "", kmsError(err)
	}
	if !answer.VerifiedPlaintextCrc32C || !answer.VerifiedAdditionalAuthenticatedDataCrc32C || !matches(answer.CiphertextCrc32C, answer.Ciphertext) ||
		!k.owns(answer.Name) {
		return nil, "", errGarbled
	}
	return answer.Ciphertext, answer.Name, nil
}

func (k *key) Decrypt(ctx context.Context, version string, ciphertext, additionalData []byte) ([]byte, error) {
	if !k.owns(version) {
		return nil, kms.ErrWrongKey
	}
	answer, err := k.client.Decrypt(ctx, &kmspb.DecryptRequest{
		Name: k.name, Ciphertext: ciphertext, CiphertextCrc32C: checksum(ciphertext),
		AdditionalAuthenticatedData: additionalData, AdditionalAuthenticatedDataCrc32C: checksum(additionalData),
	})
	switch {
	case status.Code(err) == codes.InvalidArgument: // Cloud KMS returns it for a ciphertext that does not open
		return nil, envelope.ErrAuthentication
	case err != nil:
		return nil, k.explainFailure(ctx, err)
	case !matches(answer.PlaintextCrc32C, answer.Plaintext):
		return nil, errGarbled
	}
	return answer.Plaintext, nil
}

// owns reports whether a version is one of this key's.
func (k *key) owns(version string) bool {
	return strings.HasPrefix(version, k.name+"/cryptoKeyVersions/")
}

// explainFailure returns ErrRecreated if the version that wrapped is destroyed, but the key has another primary
// version. It encrypts to find out, since the role that may use a key may not read its state.
func (k *key) explainFailure(ctx context.Context, err error) error {
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(status.Convert(err).Message(), "DESTROY") {
		return kmsError(err)
	}
	if _, err := k.client.Encrypt(ctx, &kmspb.EncryptRequest{Name: k.name}); err == nil {
		return fmt.Errorf("%w (the version that wrapped is destroyed)", kms.ErrRecreated)
	}
	return kmsError(err)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(b, castagnoli)))
}

func matches(sum *wrapperspb.Int64Value, b []byte) bool {
	return sum != nil && sum.Value == checksum(b).Value
}

// kmsError returns the error of package kms for an error of the SDK. It keeps only the code, since the text may quote
// the request.
func kmsError(err error) error {
	code, sentinel := status.Code(err), kms.ErrUnavailable
	switch code {
	case codes.PermissionDenied, codes.Unauthenticated:
		sentinel = kms.ErrDenied
	case codes.ResourceExhausted:
		sentinel = kms.ErrThrottled
	case codes.DeadlineExceeded: // the timer of gRPC may fire before that of the context
		sentinel = kms.ErrTimeout
	case codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument:
		sentinel = kms.ErrKeyGone
	case codes.Unavailable:
		return fmt.Errorf("%w (Cloud KMS cannot be reached: check the network)", kms.ErrUnavailable)
	}
	return fmt.Errorf("%w (Cloud KMS answers %s)", sentinel, code)
}
