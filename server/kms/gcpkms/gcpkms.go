// Package gcpkms opens KEKs in Google Cloud KMS: symmetric keys.
//
// URL:
//
//	gcpkms://projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY
//
// The primary version of the key wraps. Unwrap uses the version that wrapped.
//
// Credentials: the file in Settings, or else those that the SDK finds: its environment variables, the login of gcloud,
// or the service account of the machine.
//
// Permissions: the role roles/cloudkms.cryptoKeyEncrypterDecrypter on the key.
//
// Cloud KMS authenticates the additional data, and checksums protect requests and answers in transit. The identity is
// the name of the key version. Neither the name of a key nor the number of a version can be used again (Google, "Delete
// Cloud KMS resources"), so a wrapped key whose version was destroyed and replaced is refused.
package gcpkms

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	cloudkms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/option"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/server/kms"
)

// Settings name the file with the credentials, as GOOGLE_APPLICATION_CREDENTIALS does. If CredentialsFile is empty, the
// SDK finds the credentials.
type Settings struct{ CredentialsFile string }

var keyPath = regexp.MustCompile(`^/[a-z0-9.:-]{1,64}/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}$`)

const (
	scope          = "https://www.googleapis.com/auth/cloudkms"
	maxCredentials = 64 << 10
)

// Provider returns the provider of gcpkms:// URLs; see the package documentation. For tests, the URL may have a query
// ?endpoint= with a loopback address and port.
func Provider(s Settings) kms.Provider {
	return kms.Provider{Scheme: "gcpkms", Open: func(ctx context.Context, u *url.URL) (kms.KEK, error) {
		query := u.Query()
		endpoint := query.Get("endpoint")
		query.Del("endpoint")
		if u.Host != "projects" || !keyPath.MatchString(u.Path) || len(query) > 0 || strings.Contains(u.RawQuery, "endpoint") && !loopback(endpoint) {
			return nil, fmt.Errorf("kms: a key in Cloud KMS is gcpkms://projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY: %w", kms.ErrURL)
		}
		who, err := s.credentials()
		if err != nil {
			return nil, err
		}
		options := []option.ClientOption{option.WithAuthCredentials(who)}
		if endpoint != "" {
			options = append(options, option.WithEndpoint(endpoint))
		}
		client, err := cloudkms.NewKeyManagementClient(context.WithoutCancel(ctx), options...)
		if err != nil {
			return nil, fmt.Errorf("kms: create the client of Cloud KMS: check the credentials: %w", kms.ErrSettings)
		}
		client.CallOptions.Encrypt, client.CallOptions.Decrypt = nil, nil // package kms retries
		return kms.NewRemote(&key{client, u.Host + u.Path}), nil
	}}
}

// loopback reports whether an endpoint is a loopback address with a port.
func loopback(endpoint string) bool {
	address, err := netip.ParseAddrPort(endpoint)
	return err == nil && address.Addr().IsLoopback()
}

// credentials reads or finds the credentials.
func (s *Settings) credentials() (*auth.Credentials, error) {
	options := &credentials.DetectOptions{Scopes: []string{scope}, UseSelfSignedJWT: true}
	if s.CredentialsFile == "" {
		who, err := credentials.DetectDefault(options)
		if err != nil {
			return nil, fmt.Errorf("kms: no credentials for Google Cloud: set GOOGLE_APPLICATION_CREDENTIALS: %w", kms.ErrSettings)
		}
		return who, nil
	}
	text, err := readFile(s.CredentialsFile)
	if err != nil {
		return nil, fmt.Errorf("kms: read the file in GOOGLE_APPLICATION_CREDENTIALS: check that it exists and may be read: %w", kms.ErrSettings)
	}
	var content struct {
		Type credentials.CredType `json:"type"`
	}
	_ = json.Unmarshal(text, &content) // the type is empty if the text is not JSON
	who, err := credentials.NewCredentialsFromJSON(content.Type, text, options)
	if err != nil {
		return nil, fmt.Errorf("kms: the file in GOOGLE_APPLICATION_CREDENTIALS does not contain credentials: %w", kms.ErrSettings)
	}
	return who, nil
}

func readFile(path string) ([]byte, error) {
	f, err := durable.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxCredentials))
}
