package awskms_test

import (
	"encoding/base64"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/kmspeers"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kms/awskms"
	"github.com/coffer-storage/coffer/server/kms/kmstest"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// environment is held while a KEK is opened, since the SDK then reads the environment and the tests of the suite run in
// parallel.
var environment sync.Mutex

func TestMain(m *testing.M) {
	_ = os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_ = os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	_ = os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	os.Exit(m.Run())
}

func openAs(t testing.TB, peer *kmspeers.AWS, name string, s awskms.Settings) kms.KEK {
	environment.Lock()
	defer environment.Unlock()
	require.NoError(t, os.Setenv("AWS_ENDPOINT_URL_KMS", peer.URL))
	kek, err := kms.Open(t.Context(), "awskms:///"+name+"?region="+peer.Region, awskms.Provider(s))
	require.NoError(t, err)
	return kek
}

func open(t testing.TB, peer *kmspeers.AWS, name string) kms.KEK {
	return openAs(t, peer, name, awskms.Settings{AccessKeyID: peer.AccessKeyID, SecretAccessKey: peer.SecretAccessKey})
}

func TestAWSConforms(t *testing.T) {
	kmstest.RunRemote(t, func(t testing.TB) (kmstest.Subject, kmstest.Peer) {
		peer := kmspeers.NewAWS(t)
		return kmstest.Subject{
			Open:    func(t testing.TB) kms.KEK { return open(t, peer, kmspeers.AWSAlias) },
			Other:   func(t testing.TB) kms.KEK { return open(t, peer, "alias/other-key") },
			Secrets: []string{"PLANTED"},
		}, peer
	})
}

// A key has the same identity, its ARN, whether it is opened by alias or by ARN.
func TestAliasAndARNOpenTheSameKey(t *testing.T) {
	peer := kmspeers.NewAWS(t)
	byAlias, byARN := open(t, peer, kmspeers.AWSAlias), open(t, peer, peer.ARN())
	wrapped, err := byAlias.Wrap(t.Context(), []byte("key"), []byte("tenant"))
	require.NoError(t, err)
	require.Equal(t, peer.ARN(), kms.Identity(wrapped))
	got, err := byARN.Unwrap(t.Context(), wrapped, []byte("tenant"))
	require.NoError(t, err)
	require.Equal(t, "key", string(got))
	require.Equal(t, "awskms:///alias/coffer-key?region=eu-central-1", byAlias.URL())
}

// The encryption context has the binding of a root in readable form, for CloudTrail and policies. Wrapped keys of
// version 1 must always unwrap, so it never changes.
func TestEncryptionContextIsTheBinding(t *testing.T) {
	peer := kmspeers.NewAWS(t)
	kek := open(t, peer, kmspeers.AWSAlias)
	id := format.KeyID([]byte("0123456789abcdef0123456789abcdef"))
	const root = "3031323334353637383961626364656630313233343536373839616263646566"
	for _, c := range []struct {
		bound envelope.Binding
		want  map[string]string
	}{
		{envelope.Binding{Environment: "prod", Owner: "clinic-7", ID: id}, map[string]string{"coffer-environment": "prod", "coffer-tenant": "clinic-7", "coffer-root": root}},
		{envelope.Binding{Owner: "Köln/7\x00%", ID: id}, map[string]string{"coffer-tenant": "K%C3%B6ln%2F7%00%25", "coffer-root": root}},
		{envelope.Binding{Owner: "x", Use: format.UseCache, ID: id}, nil},
		{envelope.Binding{Owner: "x", Class: 1, ID: id}, nil},
		{envelope.Binding{Environment: "prod", ID: id}, map[string]string{"coffer-environment": "prod", "coffer-root": root}},
	} {
		bound := c.bound.Append(nil)
		if c.want == nil { // not a root
			c.want = map[string]string{"coffer": base64.StdEncoding.EncodeToString(bound)}
		}
		wrapped, err := kek.Wrap(t.Context(), []byte("key"), bound)
		require.NoError(t, err)
		require.Equal(t, c.want, peer.Context())
		_, err = kek.Unwrap(t.Context(), wrapped, bound)
		require.NoError(t, err)
		require.Equal(t, c.want, peer.Context())
	}
	_, err := kek.Wrap(t.Context(), []byte("key"), nil)
	require.NoError(t, err)
	require.Empty(t, peer.Context())
}

// Wrong or missing credentials are ErrDenied, without the credentials in the error.
func TestWrongCredentialsAreDenied(t *testing.T) {
	peer := kmspeers.NewAWS(t)
	for _, s := range []awskms.Settings{{}, {AccessKeyID: peer.AccessKeyID, SecretAccessKey: "PLANTED"}, {AccessKeyID: "PLANTED", SecretAccessKey: peer.SecretAccessKey}} {
		_, err := openAs(t, peer, kmspeers.AWSAlias, s).Wrap(t.Context(), []byte("key"), nil)
		require.ErrorIs(t, err, kms.ErrDenied)
		require.ErrorContains(t, err, "kms:DescribeKey")
		require.NotContains(t, err.Error(), "PLANTED")
	}
}

func TestInvalidURLsAreRefused(t *testing.T) {
	for _, url := range []string{
		"awskms://", "awskms:///", "awskms:///alias/k", "awskms://alias/k?region=eu-central-1", "awskms:///alias/k?region=", "awskms:///alias/k?region=eu-central-1&x=1",
		"awskms:///alias/?region=eu-central-1", "awskms:///a/b?region=eu-central-1", "awskms:///alias/k?region=EU", "awskms:///k?region=a.example",
		"awskms:///arn:aws:s3:eu-central-1:111122223333:key/k?region=eu-central-1", "awskms:///" + strings.Repeat("k", 65) + "?region=eu-central-1",
	} {
		t.Run(url, func(t *testing.T) {
			_, err := kms.Open(t.Context(), url, awskms.Provider(awskms.Settings{}))
			require.ErrorIs(t, err, kms.ErrURL, url)
		})
	}
}
