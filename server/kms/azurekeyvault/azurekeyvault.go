// Package azurekeyvault opens KEKs in Azure Key Vault and Managed HSM: RSA keys, which wrap with RSA-OAEP-256
// and sign with PS256.
//
// What it guarantees: RSA authenticates nothing, and anybody who has the public key can wrap with it; so what
// is wrapped is signed by the same key version, together with the additional data, and is not unwrapped
// before the signature was found good. The identity is the key's version, which Key Vault draws at random: a
// key that was made again under the same name is refused as such.
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

// Settings say who asks. Where there is no ClientSecret, it is whom the SDK's chain of credentials finds: its
// own AZURE_ variables, a workload's identity, a managed identity.
type Settings struct{ TenantID, ClientID, ClientSecret string }

var (
	keyPath    = regexp.MustCompile(`^/keys/([0-9A-Za-z-]{1,127})(?:/([0-9a-f]{32}))?$`)
	keyVersion = regexp.MustCompile(`^[0-9a-f]{32}$`)
	vaultHost  = regexp.MustCompile(`^[0-9a-z-]{3,24}\.(vault\.azure\.net|managedhsm\.azure\.net|vault\.azure\.cn|managedhsm\.azure\.cn|` +
		`vault\.usgovcloudapi\.net|managedhsm\.usgovcloudapi\.net)$`)
)

// Provider opens URLs of the form
//
//	azurekeyvault://NAME.vault.azure.net/keys/KEY[/VERSION]
//
// and those of the other clouds and of Managed HSM. Without a version, the current one wraps. Whichever
// wrapped unwraps. The host may be an address of this machine with a port as well, for tests; then tokens are
// asked for there, too.
func Provider(s Settings) kms.Provider {
	return kms.Provider{Scheme: "azurekeyvault", Open: func(_ context.Context, u *url.URL) (kms.KEK, error) {
		parts, local := keyPath.FindStringSubmatch(u.Path), loopback(u.Host)
		if parts == nil || u.RawQuery != "" || !local && !vaultHost.MatchString(strings.ToLower(u.Host)) {
			return nil, fmt.Errorf("kms: a key in Key Vault is azurekeyvault://NAME.vault.azure.net/keys/KEY or that and /VERSION: %w", kms.ErrURL)
		}
		k := &key{host: strings.ToLower(u.Host), name: parts[1], version: parts[2], public: map[string]*rsa.PublicKey{}}
		options := once()
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
			return nil, fmt.Errorf("kms: Key Vault's client: %w", kms.ErrSettings)
		}
		return kms.NewRemote(k), nil
	}}
}

// loopback reports whether a host is an address of this machine.
func loopback(host string) bool {
	address, err := netip.ParseAddrPort(host)
	return err == nil && address.Addr().IsLoopback()
}

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

// once has the SDK try once: package kms tries again.
func once() azcore.ClientOptions {
	return azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}
}

// key is an RSA key of a vault.
type key struct {
	vault      *azkeys.Client
	host, name string
	version    string // empty: the current one
	mu         sync.Mutex
	public     map[string]*rsa.PublicKey // by version; what is under a version never changes
}
