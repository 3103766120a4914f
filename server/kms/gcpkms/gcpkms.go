// Package gcpkms opens KEKs in Google Cloud KMS: symmetric keys.
//
// What it guarantees: Cloud KMS authenticates the additional data, and checksums guard what is sent both
// ways. The identity is the name of the key's version; neither a key's name nor a version's number can be
// used again (Google's "Delete Cloud KMS resources"), so that a key whose version was destroyed and made anew
// is refused as such.
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

// Settings say who asks, by the file that GOOGLE_APPLICATION_CREDENTIALS names. Where there is none, it is
// whom the SDK finds: its own variables, gcloud's login, the machine's service account.
type Settings struct{ CredentialsFile string }

var keyPath = regexp.MustCompile(`^/[a-z0-9.:-]{1,64}/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}$`)

const (
	scope          = "https://www.googleapis.com/auth/cloudkms"
	maxCredentials = 64 << 10
)

// Provider opens URLs of the form
//
//	gcpkms://projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY
//
// and, for tests, that and ?endpoint= with an address and port of this machine. The key's primary version wraps.
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
			return nil, fmt.Errorf("kms: Cloud KMS' client cannot be made: %w", kms.ErrSettings)
		}
		client.CallOptions.Encrypt, client.CallOptions.Decrypt = nil, nil // package kms tries again
		return kms.NewRemote(&key{client, u.Host + u.Path}), nil
	}}
}

// loopback reports whether an endpoint is an address of this machine.
func loopback(endpoint string) bool {
	address, err := netip.ParseAddrPort(endpoint)
	return err == nil && address.Addr().IsLoopback()
}

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
		return nil, fmt.Errorf("kms: the file that GOOGLE_APPLICATION_CREDENTIALS names cannot be read: %w", kms.ErrSettings)
	}
	var content struct {
		Type credentials.CredType `json:"type"`
	}
	_ = json.Unmarshal(text, &content) // what is no JSON has no type
	who, err := credentials.NewCredentialsFromJSON(content.Type, text, options)
	if err != nil {
		return nil, fmt.Errorf("kms: the file that GOOGLE_APPLICATION_CREDENTIALS names holds no credentials: %w", kms.ErrSettings)
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
