// Package awskms opens KEKs in AWS KMS.
//
// What it guarantees: the additional data is the encryption context, so KMS itself refuses a wrapped key that
// was moved to another tenant; it is in CloudTrail, with the tenant's id. The identity is the key's ARN,
// which no other key ever has: an alias that was given to another key, or a key of another account in an
// altered wrapped key, is refused and not asked.
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

// Settings are credentials. Without them the SDK looks for some: its other variables, its files, the machine's role.
type Settings struct{ AccessKeyID, SecretAccessKey, SessionToken string }

var (
	keyName = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:)?(alias/[A-Za-z0-9/_-]{1,250}|key/[a-z0-9-]{1,64}|[a-z0-9-]{1,64})$`)
	region  = regexp.MustCompile(`^[a-z]{2}[a-z0-9-]{1,30}$`)
)

// Provider opens URLs of the form
//
//	awskms:///KEY?region=REGION
//
// where KEY is a key's id or ARN, or an alias as alias/NAME or by ARN. The variable AWS_ENDPOINT_URL_KMS of
// the SDK names another endpoint.
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
			config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), // package kms tries again
		}
		if s.AccessKeyID != "" {
			options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(s.AccessKeyID, s.SecretAccessKey, s.SessionToken)))
		}
		c, err := config.LoadDefaultConfig(ctx, options...)
		if err != nil {
			return nil, fmt.Errorf("kms: the AWS_ variables or the SDK's files are not valid: %w", kms.ErrSettings)
		}
		return kms.NewRemote(&key{awskms.NewFromConfig(c), name, in}), nil
	}}
}

// key is a symmetric key.
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
		return nil, "", fault(err)
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
		return nil, k.why(ctx, identity)
	}
	return nil, fault(err)
}

// maxCiphertext is what Decrypt takes, in bytes.
const maxCiphertext = 6144

// why says for what reason KMS refused a ciphertext: another key's, or altered.
func (k *key) why(ctx context.Context, identity string) error {
	out, err := k.aws.DescribeKey(ctx, &awskms.DescribeKeyInput{KeyId: &k.name})
	switch {
	case err != nil:
		return fault(err)
	case out.KeyMetadata == nil:
		return kms.ErrUnavailable
	case aws.ToString(out.KeyMetadata.Arn) != identity:
		return kms.ErrRecreated
	}
	return envelope.ErrAuthentication
}

// encryptionContext is the binding of a root, readable: CloudTrail shows it, and policies may demand it
// (kms:EncryptionContext:coffer-environment). Environment and tenant are percent-encoded, the root's id is in
// hexadecimal; a backup's key has no tenant. Other additional data is in base64, and none is no context.
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
		if text != "" { // which KMS does not take
			pairs[name] = url.PathEscape(text)
		}
	}
	return pairs
}

func refused(err error) bool {
	var wrong *types.IncorrectKeyException
	var altered *types.InvalidCiphertextException
	return errors.As(err, &wrong) || errors.As(err, &altered)
}

// fault is what an error of the SDK means, by KMS's codes (its API reference: common errors, and those of
// Encrypt and Decrypt). Nothing but the code is kept: the message names who asked.
func fault(err error) error {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		var signing *smithy.OperationError
		if errors.As(err, &signing) && strings.Contains(signing.Err.Error(), "get identity") {
			return fmt.Errorf("%w (there are no credentials)", kms.ErrDenied)
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
