// Package azurekeyvault opens KEKs in Azure Key Vault and Managed HSM: RSA keys, which wrap with RSA-OAEP-256 and sign
// with PS256.
//
// URL:
//
//	azurekeyvault://NAME.vault.azure.net/keys/KEY[/VERSION]
//
// and the hosts of Managed HSM and of the other clouds. Without a version, the current version wraps. Unwrap uses the
// version that wrapped.
//
// Credentials: the client secret in Settings, or else those that the SDK finds: the AZURE_ environment variables, a
// workload identity or a managed identity.
//
// Permissions on the key: get, wrapKey, unwrapKey and sign, for instance by the role Key Vault Crypto User.
//
// RSA does not authenticate, and anyone with the public key can wrap. So the same key version signs the wrapped key
// together with the additional data, and nothing is unwrapped before the signature is verified. The identity is the
// version of the key, a random number, so a key that was created again under the same name is refused.
package azurekeyvault

import (
	"context"
	"crypto/rsa"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/coffer-storage/coffer/server/kms"
)

// Settings are the credentials of an application in Microsoft Entra. If ClientSecret is empty, the SDK finds the
// credentials.
type Settings struct{ TenantID, ClientID, ClientSecret string }

var (
	keyPath    = regexp.MustCompile(`^/keys/([0-9A-Za-z-]{1,127})(?:/([0-9a-f]{32}))?$`)
	keyVersion = regexp.MustCompile(`^[0-9a-f]{32}$`)
	vaultHost  = regexp.MustCompile(`^[0-9a-z-]{3,24}\.(vault\.azure\.net|managedhsm\.azure\.net|vault\.azure\.cn|managedhsm\.azure\.cn|` +
		`vault\.usgovcloudapi\.net|managedhsm\.usgovcloudapi\.net)$`)
)

// Provider returns the provider of azurekeyvault:// URLs; see the package documentation. For tests, the host may also
// be a loopback address with a port, which then issues the tokens, too.
func Provider(s Settings) kms.Provider {
	return kms.Provider{Scheme: "azurekeyvault", Open: func(_ context.Context, u *url.URL) (kms.KEK, error) {
		parts, local := keyPath.FindStringSubmatch(u.Path), loopback(u.Host)
		if parts == nil || u.RawQuery != "" || !local && !vaultHost.MatchString(strings.ToLower(u.Host)) {
			return nil, fmt.Errorf("kms: a key in Key Vault is azurekeyvault://NAME.vault.azure.net/keys/KEY or that and /VERSION: %w", kms.ErrURL)
		}
		k := &key{host: strings.ToLower(u.Host), name: parts[1], version: parts[2], public: map[string]*rsa.PublicKey{}}
		options := withoutRetries()
		if local {
			options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: "https://" + u.Host}
		}
		credential, err := s.credential(options, local)
		if err != nil {
			return nil, fmt.Errorf("kms: check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET: %w", kms.ErrSettings)
		}
		k.vault, err = azkeys.NewClient("https://"+k.host, credential, &azkeys.ClientOptions{
			ClientOptions: options, DisableChallengeResourceVerification: local,
		})
		if err != nil {
			return nil, fmt.Errorf("kms: create the client of Key Vault: check the host in the URL: %w", kms.ErrSettings)
		}
		return kms.NewRemote(k), nil
	}}
}

// loopback reports whether a host is a loopback address with a port.
func loopback(host string) bool {
	address, err := netip.ParseAddrPort(host)
	return err == nil && address.Addr().IsLoopback()
}

// credential returns the credential of the settings. local permits an authority on this machine.
func (s *Settings) credential(options azcore.ClientOptions, local bool) (azcore.TokenCredential, error) {
	if s.ClientSecret != "" {
		return azidentity.NewClientSecretCredential(s.TenantID, s.ClientID, s.ClientSecret, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: local,
		})
	}
	return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: local, TenantID: s.TenantID,
	})
}

// withoutRetries returns client options without retries: package kms retries.
func withoutRetries() azcore.ClientOptions {
	return azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}
}

// key implements kms.Driver for an RSA key.
type key struct {
	vault      *azkeys.Client
	host, name string
	version    string // empty for the current one
	mu         sync.Mutex
	public     map[string]*rsa.PublicKey // by version; the key of a version never changes
}
