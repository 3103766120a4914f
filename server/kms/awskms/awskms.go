// Package awskms opens KEKs in AWS KMS: symmetric keys.
//
// URL:
//
//	awskms:///KEY?region=REGION
//
// KEY is the id or the ARN of a key, or an alias as alias/NAME or as its ARN.
//
// Credentials: those of Settings, or else those that the SDK finds: the AWS_ environment variables, its files, or the
// role of the machine.
//
// Permissions, in the policies of both the role and the key: kms:Encrypt, kms:Decrypt and kms:DescribeKey.
//
// The additional data is the encryption context, so KMS refuses a wrapped key that was moved to another tenant, and
// CloudTrail shows the id of the tenant. The identity is the ARN of the key, which no other key ever has. A wrapped key
// with another ARN is refused: the alias was given to another key, or the wrapped key was altered.
package awskms

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Settings are the credentials. If AccessKeyID is empty, the SDK finds the credentials.
type Settings struct{ AccessKeyID, SecretAccessKey, SessionToken string }

var (
	keyName = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:)?(alias/[A-Za-z0-9/_-]{1,250}|key/[a-z0-9-]{1,64}|[a-z0-9-]{1,64})$`)
	region  = regexp.MustCompile(`^[a-z]{2}[a-z0-9-]{1,30}$`)
)

// Provider returns the provider of awskms:// URLs; see the package documentation. The environment variable
// AWS_ENDPOINT_URL_KMS of the SDK sets another endpoint.
func Provider(s Settings) kms.Provider {
	return kms.Provider{Scheme: "awskms", Open: func(ctx context.Context, u *url.URL) (kms.KEK, error) {
		query, name := u.Query(), strings.TrimPrefix(u.Path, "/")
		in := query.Get("region")
		query.Del("region")
		if u.Host != "" || !keyName.MatchString(name) || !region.MatchString(in) || len(query) > 0 {
			return nil, fmt.Errorf("kms: a key in AWS is awskms:///KEY?region=REGION, where KEY is an id, an ARN or alias/NAME: %w", kms.ErrURL)
		}
		options := []func(*config.LoadOptions) error{
			config.WithRegion(in),
			config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), // package kms retries
		}
		if s.AccessKeyID != "" {
			options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(s.AccessKeyID, s.SecretAccessKey, s.SessionToken)))
		}
		c, err := config.LoadDefaultConfig(ctx, options...)
		if err != nil {
			return nil, fmt.Errorf("kms: check the AWS_ environment variables and the files of the AWS SDK: %w", kms.ErrSettings)
		}
		return kms.NewRemote(&key{awskms.NewFromConfig(c), name, in}), nil
	}}
}

// key implements kms.Driver for a symmetric key.
type key struct {
	aws          *awskms.Client
	name, region string
}

var _ kms.Driver = (*key)(nil)

func (k *key) URL() string { return "awskms:///" + k.name + "?region=" + k.region }

func (k *key) Advice() string {
	return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the machine's role, the clock, and that the policies of both role and key allow kms:Encrypt, " +
		"kms:Decrypt and kms:DescribeKey"
}

func (k *key) Encrypt(ctx context.Context, plain, additionalData []byte) ([]byte, string, error) {
	out, err := k.aws.Encrypt(ctx, &awskms.EncryptInput{KeyId: &k.name, Plaintext: plain, EncryptionContext: encryptionContext(additionalData)})
	if err != nil {
		return nil, "", kmsError(err)
	}
	if !strings.Contains(aws.ToString(out.KeyId), ":key/") {
		return nil, "", kms.ErrUnavailable
	}
	return out.CiphertextBlob, *out.KeyId, nil
}

func (k *key) Decrypt(ctx context.Context, identity string, ciphertext, additionalData []byte) ([]byte, error) {
	if len(ciphertext) > maxCiphertext {
		return nil, envelope.ErrAuthentication
	}
	out, err := k.aws.Decrypt(ctx, &awskms.DecryptInput{KeyId: &k.name, CiphertextBlob: ciphertext, EncryptionContext: encryptionContext(additionalData)})
	switch {
	case err == nil && aws.ToString(out.KeyId) == identity:
		return out.Plaintext, nil
	case err == nil:
		return nil, kms.ErrRecreated
	case refused(err):
		return nil, k.explainRefusal(ctx, identity)
	}
	return nil, kmsError(err)
}

// maxCiphertext is the size of the longest ciphertext that Decrypt accepts, in bytes.
const maxCiphertext = 6144

// explainRefusal returns why KMS refused a ciphertext: ErrRecreated if the key has another identity, and otherwise
// ErrAuthentication.
func (k *key) explainRefusal(ctx context.Context, identity string) error {
	out, err := k.aws.DescribeKey(ctx, &awskms.DescribeKeyInput{KeyId: &k.name})
	switch {
	case err != nil:
		return kmsError(err)
	case out.KeyMetadata == nil:
		return kms.ErrUnavailable
	case aws.ToString(out.KeyMetadata.Arn) != identity:
		return kms.ErrRecreated
	}
	return envelope.ErrAuthentication
}

// encryptionContext returns the binding of a root in readable form (SPEC.md section 3). CloudTrail shows it, and a
// policy can require it by the condition key kms:EncryptionContext:coffer-environment. Additional data that is not such
// a binding is in base64. Empty additional data has no context.
func encryptionContext(additionalData []byte) map[string]string {
	if len(additionalData) == 0 {
		return nil
	}
	b, err := envelope.ParseBinding(additionalData)
	if err != nil || b.Use != 0 || b.Class != 0 {
		return map[string]string{"coffer": base64.StdEncoding.EncodeToString(additionalData)}
	}
	pairs := map[string]string{"coffer-root": hex.EncodeToString(b.ID[:])}
	for name, text := range map[string]string{"coffer-environment": b.Environment, "coffer-tenant": b.Owner} {
		if text != "" { // KMS refuses empty values
			pairs[name] = url.PathEscape(text)
		}
	}
	return pairs
}

// refused reports whether KMS refused the ciphertext.
func refused(err error) bool {
	var wrong *types.IncorrectKeyException
	var altered *types.InvalidCiphertextException
	return errors.As(err, &wrong) || errors.As(err, &altered)
}

// kmsError returns the error of package kms for an error of the SDK, by its code (AWS KMS API reference: common errors,
// and those of Encrypt and Decrypt). It keeps only the code, since the message contains the name of the caller.
func kmsError(err error) error {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		var signing *smithy.OperationError
		if errors.As(err, &signing) && strings.Contains(signing.Err.Error(), "get identity") {
			return fmt.Errorf("%w (no credentials were found)", kms.ErrDenied)
		}
		return fmt.Errorf("%w (AWS KMS cannot be reached: check AWS_REGION)", kms.ErrUnavailable)
	}
	sentinel := kms.ErrUnavailable
	switch answer.ErrorCode() {
	case "AccessDeniedException", "AccessDenied", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
		"ExpiredTokenException", "MissingAuthenticationTokenException", "IncompleteSignatureException", "NotAuthorized", "OptInRequired":
		sentinel = kms.ErrDenied
	case "ThrottlingException", "Throttling", "LimitExceededException", "RequestLimitExceeded", "TooManyRequestsException":
		sentinel = kms.ErrThrottled
	case "DisabledException", "NotFoundException", "KMSInvalidStateException", "InvalidKeyUsageException", "InvalidArnException":
		sentinel = kms.ErrKeyGone
	}
	return fmt.Errorf("%w (AWS answers %s)", sentinel, answer.ErrorCode())
}
