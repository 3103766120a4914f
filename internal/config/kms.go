package config

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/coffer-storage/coffer/shared/classify"
)

// KMS says which keys wrap the keysets, and who asks for them.
type KMS struct {
	KEK     Secret                       // URL of the one for all classes; empty: MasterKey
	Classes map[classify.Class]MasterKey // of the classes that have a master key of their own
	AWS     AWS
	Azure   Azure
	Google  Google
	Vault   Vault

	ignored []string // variables of providers' SDKs that stand in .env, where these do not see them
}

// AWS, Azure, Google and Vault are credentials. What is empty is for the provider's SDK to find, such as the
// role of the machine.
type (
	AWS    struct{ AccessKeyID, SecretAccessKey, SessionToken Secret }
	Azure  struct{ TenantID, ClientID, ClientSecret Secret }
	Google struct{ Credentials string } // path of a file
	Vault  struct {
		Address   Secret // which may hold a password, and is refused then
		Token     Secret
		TokenFile string // where the token came from, if from a file: another one may be written there
	}
)

// Local reports whether keysets are wrapped by a key that this process has, and not by a KMS.
func (c *Config) Local() bool {
	return c.KMS.KEK == "" || strings.HasPrefix(string(c.KMS.KEK), "base64key:") || strings.HasPrefix(string(c.KMS.KEK), "file:")
}

// CheckProduction refuses local keys in production: anyone who reads the host's disk or environment reads all data. A server and the
// commands that judge its configuration call it; the commands that move keys into a KMS do not.
func (c *Config) CheckProduction() error {
	if c.Local() && c.Production {
		return errors.New("the KEK is a local key, and COFFER_PRODUCTION is true, its default for every environment but dev: " +
			"set KMS_PROVIDER to aws, azure, gcp or vault, or set COFFER_KEK (`coffer keys rewrap` moves existing keys under it); " +
			"if this is not production, set COFFER_PRODUCTION=false")
	}
	return nil
}

func (l *loader) kms(r *raw) KMS {
	k := KMS{
		Classes: map[classify.Class]MasterKey{},
		AWS:     AWS{Secret(r.AWSAccessKeyID), Secret(r.AWSSecretAccessKey), Secret(r.AWSSessionToken)},
		Azure:   Azure{Secret(r.AzureTenantID), Secret(r.AzureClientID), Secret(r.AzureClientSecret)},
		Google:  Google{r.GoogleCredentials},
		Vault:   Vault{Secret(r.VaultAddress), Secret(r.VaultToken), r.VaultTokenFile},
	}
	for _, class := range []classify.Class{classify.PII, classify.PHI} {
		if key := l.classMasterKey(class); key.Configured() {
			k.Classes[class] = key
		}
	}
	if l.set("COFFER_KEK") {
		k.KEK = l.kek(r.KEK)
		if l.set("KMS_PROVIDER") {
			l.refuse("COFFER_KEK", "and KMS_PROVIDER are both set: unset one of them")
		}
	} else if url := l.provider(r); url != "" {
		k.KEK = Secret(url)
	}
	if k.KEK != "" {
		for _, variable := range append(masterKeyVariables, masterKeyCommand, passphraseCommand) {
			if l.set(variable) {
				l.refuse(variable, "configures a local key, and COFFER_KEK or KMS_PROVIDER configures a KEK: unset one of them")
			}
		}
	}
	l.verifies(r)
	k.ignored = l.ofSDKs(r)
	for _, name := range k.ignoredBy(string(k.KEK)) {
		l.refuse(name, notInForce)
	}
	l.together("AWS_ACCESS_KEY_ID", r.AWSAccessKeyID, "AWS_SECRET_ACCESS_KEY", r.AWSSecretAccessKey)
	return k
}

// kek takes what has a scheme; what its provider says of the rest comes when it is opened.
func (l *loader) kek(text string) Secret {
	if scheme, rest, ok := strings.Cut(text, "://"); !ok || scheme == "" || rest == "" {
		l.refuse("COFFER_KEK", "must be the URL of a key, such as hashivault://KEY or awskms:///alias/KEY?region=REGION")
	}
	return Secret(text)
}

// provider makes the URL of the guides' variables.
func (l *loader) provider(r *raw) string {
	switch r.Provider {
	case "local":
		return ""
	case "aws":
		l.need("aws", "AWS_REGION", r.AWSRegion, "AWS_KMS_KEY_ID", r.AWSKey)
		return "awskms:///" + escape(r.AWSKey) + "?region=" + url.QueryEscape(r.AWSRegion)
	case "azure":
		l.need("azure", "AZURE_KEY_VAULT_URL", r.AzureVault, "AZURE_KEY_NAME", r.AzureKey)
		if r.AzureClientSecret != "" { // else these name the identity of a workload, or of a user-assigned one, to the SDK
			l.together("AZURE_TENANT_ID", r.AzureTenantID, "AZURE_CLIENT_ID", r.AzureClientID, "AZURE_CLIENT_SECRET", r.AzureClientSecret)
		}
		u, err := url.Parse(r.AzureVault)
		if err != nil || r.AzureVault != "" && (u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil) {
			l.refuse("AZURE_KEY_VAULT_URL", "must be the URL of a vault, such as https://NAME.vault.azure.net")
			return ""
		}
		return "azurekeyvault://" + u.Host + "/keys/" + url.PathEscape(r.AzureKey)
	case "gcp":
		l.need("gcp", "GCP_PROJECT_ID", r.GCPProject, "GCP_LOCATION", r.GCPLocation, "GCP_KEY_RING", r.GCPRing, "GCP_KEY_NAME", r.GCPKey)
		return "gcpkms://projects/" + url.PathEscape(r.GCPProject) + "/locations/" + url.PathEscape(r.GCPLocation) + "/keyRings/" + url.PathEscape(r.GCPRing) +
			"/cryptoKeys/" + url.PathEscape(r.GCPKey)
	case "vault":
		l.need("vault", "VAULT_ADDR", r.VaultAddress, "VAULT_TOKEN", r.VaultToken)
		return "hashivault://" + url.PathEscape(r.VaultKey)
	}
	l.refuse("KMS_PROVIDER", "must be local, aws, azure, gcp or vault")
	return ""
}

// escape leaves the slashes of an alias.
func escape(key string) string { return strings.ReplaceAll(url.PathEscape(key), "%2F", "/") }

// notInForce says what to do about a variable that the SDK of a provider takes from the environment of the
// process alone.
const notInForce = "is taken from the environment alone, and does nothing in .env: set it in the environment"

// prefixes begin the variables of the SDKs, by the schemes of their KEKs.
var prefixes = map[string]string{"awskms": "AWS_", "azurekeyvault": "AZURE_", "gcpkms": "GOOGLE_", "hashivault": "VAULT_"}

// ignoredBy gives the variables of .env that whoever opens a KEK would take to be in force, and that are not.
// Those of other providers may be there for other programs.
func (k *KMS) ignoredBy(kek string) (names []string) {
	scheme, _, _ := strings.Cut(kek, "://")
	prefix, ok := prefixes[scheme]
	for _, name := range k.ignored {
		if ok && strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names
}

// Check refuses the URL of a KEK whose provider's SDK takes variables from the environment alone that stand
// in .env. Load has checked the configured one.
func (k *KMS) Check(kek string) error {
	if names := k.ignoredBy(kek); len(names) > 0 {
		return errors.New(strings.Join(names, ", ") + " " + notInForce)
	}
	return nil
}

// ofSDKs gives the variables of .env that are an SDK's, and not handed to it.
func (l *loader) ofSDKs(r *raw) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(l.file)) {
		handed := slices.Contains(variables, name) || twin(name) != ""
		if name == "AZURE_CLIENT_ID" && r.AzureClientSecret == "" {
			handed = false
		}
		of := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
		if !handed && slices.ContainsFunc(slices.Collect(maps.Values(prefixes)), of) {
			names = append(names, name)
		}
	}
	return names
}

// verifies looks at the variable of Vault's SDK by which its certificate is not looked at.
func (l *loader) verifies(r *raw) {
	const variable = "VAULT_SKIP_VERIFY"
	skip, err := strconv.ParseBool(l.values[variable])
	switch {
	case err != nil || !skip:
	case l.production(r):
		l.refuse(variable, "is true, which "+l.inProduction()+": anyone between here and Vault would get the token; name the file of the authority's certificate in VAULT_CACERT")
	default:
		l.warn("%s is true: whoever is between here and Vault gets its token", variable)
	}
}

// need takes names and values in turn.
func (l *loader) need(provider string, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			l.refuse(pairs[i], "must be set where KMS_PROVIDER is "+provider)
		}
	}
}

// together refuses some without the others.
func (l *loader) together(pairs ...string) {
	var missing []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			missing = append(missing, pairs[i])
		}
	}
	if len(missing) < len(pairs)/2 {
		for _, variable := range missing {
			l.refuse(variable, "must be set where the others of its provider are")
		}
	}
}
