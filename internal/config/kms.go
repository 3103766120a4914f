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

// KMS is the KEKs that wrap the keysets, and the credentials to use them.
type KMS struct {
	KEK     Secret                       // URL of the KEK; empty: Config.MasterKey
	Classes map[classify.Class]MasterKey // of the classes that have a master key of their own
	AWS     AWS
	Azure   Azure
	Google  Google
	Vault   Vault

	ignored []string // variables of providers' SDKs that are in .env, which the SDKs do not read
}

// Credentials of a KMS. The SDK of the provider finds those that are empty, such as the role of the machine.
type (
	// AWS has the credentials of an IAM user or role.
	AWS struct{ AccessKeyID, SecretAccessKey, SessionToken Secret }
	// Azure has the credentials of a registered application.
	Azure struct{ TenantID, ClientID, ClientSecret Secret }
	// Google names the credentials of a service account.
	Google struct{ Credentials string } // path of a file
	// Vault has the address and the token of a Vault server.
	Vault struct {
		Address   Secret // an address with a password is refused when the KEK is opened
		Token     Secret
		TokenFile string // path of the file of the token, which is read again when it changes; empty if the token is not from a file
	}
)

// Local reports whether a key in this process wraps the keysets, and not a KMS.
func (c *Config) Local() bool {
	return c.KMS.KEK == "" || strings.HasPrefix(string(c.KMS.KEK), "base64key:") || strings.HasPrefix(string(c.KMS.KEK), "file:")
}

// CheckProduction returns an error for a local key in production: anyone who reads the host's disk or environment could read all data. A
// server and the commands that check its configuration call it; the commands that move keys into a KMS do not.
func (c *Config) CheckProduction() error {
	if c.Local() && c.Production {
		return errors.New("the KEK is a local key, and COFFER_PRODUCTION is true, its default for every environment but dev: " +
			"set KMS_PROVIDER to aws, azure, gcp or vault, or set COFFER_KEK (`coffer keys rewrap` moves existing keys under it); " +
			"if this is not production, set COFFER_PRODUCTION=false")
	}
	return nil
}

// checkKMS sets the KEK, and checks that it and its credentials fit each other.
func (l *loader) checkKMS(c *Config) {
	for _, class := range []classify.Class{classify.PII, classify.PHI} {
		if key := l.classMasterKey(class); key.Configured() {
			c.KMS.Classes[class] = key
		}
	}
	c.KMS.Vault.TokenFile = l.values["VAULT_TOKEN"+fileSuffix]
	c.KMS.KEK = l.kek()
	if c.KMS.KEK != "" {
		for _, variable := range append(masterKeyVariables, masterKeyCommand, passphraseCommand) {
			if l.isSet(variable) {
				l.refuse(variable, "configures a local key, and COFFER_KEK or KMS_PROVIDER configures a KMS: unset one of them")
			}
		}
	}
	l.checkVaultVerification(c.Production)
	c.KMS.ignored = l.ignoredSDKVariables()
	for _, variable := range c.KMS.ignoredBy(string(c.KMS.KEK)) {
		l.refuse(variable, notInForce)
	}
	l.requireAllOrNone("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
}

// kek returns the URL of the configured KEK; empty for a master key.
func (l *loader) kek() Secret {
	if !l.isSet("COFFER_KEK") {
		return Secret(l.providerKEK())
	}
	text := l.value("COFFER_KEK")
	if scheme, rest, ok := strings.Cut(text, "://"); !ok || scheme == "" || rest == "" {
		l.refuse("COFFER_KEK", "must be the URL of a key, such as hashivault://KEY or awskms:///alias/KEY?region=REGION")
	}
	if l.isSet("KMS_PROVIDER") {
		l.refuse("COFFER_KEK", "and KMS_PROVIDER are both set: unset one of them")
	}
	return Secret(text)
}

// providerKEK returns the URL of the KEK that KMS_PROVIDER and the variables of that provider describe.
func (l *loader) providerKEK() string {
	escaped := func(variable string) string { return url.PathEscape(l.value(variable)) }
	switch l.value("KMS_PROVIDER") {
	case "local":
		return ""
	case "aws":
		l.requireFor("aws", "AWS_REGION", "AWS_KMS_KEY_ID")
		key := strings.ReplaceAll(escaped("AWS_KMS_KEY_ID"), "%2F", "/") // an alias has slashes
		return "awskms:///" + key + "?region=" + url.QueryEscape(l.value("AWS_REGION"))
	case "azure":
		l.requireFor("azure", "AZURE_KEY_VAULT_URL", "AZURE_KEY_NAME")
		if l.isSet("AZURE_CLIENT_SECRET") { // without a secret they name a workload's or a managed identity to the SDK
			l.requireAllOrNone("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
		}
		vault := l.value("AZURE_KEY_VAULT_URL")
		u, err := url.Parse(vault)
		if err != nil || vault != "" && (u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil) {
			l.refuse("AZURE_KEY_VAULT_URL", "must be the URL of a vault, such as https://NAME.vault.azure.net")
			return ""
		}
		return "azurekeyvault://" + u.Host + "/keys/" + escaped("AZURE_KEY_NAME")
	case "gcp":
		l.requireFor("gcp", "GCP_PROJECT_ID", "GCP_LOCATION", "GCP_KEY_RING", "GCP_KEY_NAME")
		return "gcpkms://projects/" + escaped("GCP_PROJECT_ID") + "/locations/" + escaped("GCP_LOCATION") + "/keyRings/" + escaped("GCP_KEY_RING") +
			"/cryptoKeys/" + escaped("GCP_KEY_NAME")
	case "vault":
		l.requireFor("vault", "VAULT_ADDR", "VAULT_TOKEN")
		return "hashivault://" + escaped("VAULT_KEY_NAME")
	}
	l.refuse("KMS_PROVIDER", "must be local, aws, azure, gcp or vault")
	return ""
}

// notInForce is the problem of a variable in .env that the SDK of a provider reads from the environment of the process.
const notInForce = "is taken from the environment alone, and does nothing in .env: set it in the environment"

// sdkPrefixes begin the variables of the providers' SDKs, by the schemes of their KEKs.
var sdkPrefixes = map[string]string{"awskms": "AWS_", "azurekeyvault": "AZURE_", "gcpkms": "GOOGLE_", "hashivault": "VAULT_"}

// ignoredBy returns the variables of .env that the SDK of a KEK's provider would read, and does not see. Variables of other providers may
// be there for other programs.
func (k *KMS) ignoredBy(kek string) (names []string) {
	scheme, _, _ := strings.Cut(kek, "://")
	prefix, ok := sdkPrefixes[scheme]
	for _, name := range k.ignored {
		if ok && strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names
}

// Check returns an error if .env has variables that the SDK of a KEK's provider reads from the environment alone. Load checks the
// configured KEK.
func (k *KMS) Check(kek string) error {
	if names := k.ignoredBy(kek); len(names) > 0 {
		return errors.New(strings.Join(names, ", ") + " " + notInForce)
	}
	return nil
}

// ignoredSDKVariables returns the variables of .env that belong to an SDK and are not passed to it.
func (l *loader) ignoredSDKVariables() (names []string) {
	known := l.table.variables()
	prefixes := slices.Collect(maps.Values(sdkPrefixes))
	for _, name := range slices.Sorted(maps.Keys(l.file)) {
		passed := slices.Contains(known, name)
		if name == "AZURE_CLIENT_ID" && !l.isSet("AZURE_CLIENT_SECRET") {
			passed = false
		}
		if !passed && slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			names = append(names, name)
		}
	}
	return names
}

// checkVaultVerification refuses in production, and otherwise warns about, the variable of Vault's SDK that turns off the verification of
// certificates.
func (l *loader) checkVaultVerification(production bool) {
	const variable = "VAULT_SKIP_VERIFY"
	skip, err := strconv.ParseBool(l.values[variable])
	switch {
	case err != nil || !skip:
	case production:
		l.refuse(variable, "is true, which "+l.forbidden()+": anyone between here and Vault would get the token; name the file of the authority's certificate in VAULT_CACERT")
	default:
		l.warn("%s is true: anyone between here and Vault gets the token", variable)
	}
}

// requireFor refuses variables of a provider that are not set.
func (l *loader) requireFor(provider string, variables ...string) {
	for _, variable := range variables {
		if l.value(variable) == "" {
			l.refuse(variable, "must be set if KMS_PROVIDER is "+provider)
		}
	}
}

// requireAllOrNone refuses the variables that are not set, if another one is.
func (l *loader) requireAllOrNone(variables ...string) {
	missing := slices.DeleteFunc(slices.Clone(variables), l.isSet)
	if len(missing) < len(variables) {
		for _, variable := range missing {
			l.refuse(variable, "must be set if the others of its provider are")
		}
	}
}
