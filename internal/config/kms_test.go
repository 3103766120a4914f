package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/shared/classify"
)

func TestProviderVariablesMakeTheURLOfAKEK(t *testing.T) {
	for environ, url := range map[string]string{
		"": "", "KMS_PROVIDER=local": "",
		"KMS_PROVIDER=aws,AWS_REGION=eu-central-1,AWS_KMS_KEY_ID=alias/coffer":                             "awskms:///alias/coffer?region=eu-central-1",
		"KMS_PROVIDER=aws,AWS_REGION=us-east-1,AWS_KMS_KEY_ID=arn:aws:kms:us-east-1:111122223333:key/1234": "awskms:///arn:aws:kms:us-east-1:111122223333:key/1234?region=us-east-1",
		"KMS_PROVIDER=azure,AZURE_KEY_VAULT_URL=https://v.vault.azure.net/,AZURE_KEY_NAME=coffer":          "azurekeyvault://v.vault.azure.net/keys/coffer",
		"KMS_PROVIDER=gcp,GCP_PROJECT_ID=p,GCP_LOCATION=l,GCP_KEY_RING=r,GCP_KEY_NAME=k":                   "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k",
		"KMS_PROVIDER=vault,VAULT_ADDR=https://vault:8200,VAULT_TOKEN=t":                                   "hashivault://coffer",
		"KMS_PROVIDER=vault,VAULT_ADDR=http://127.0.0.1:8200,VAULT_TOKEN=t,VAULT_KEY_NAME=k":               "hashivault://k",
		"COFFER_KEK=hashivault://k?mount=m":                                                                "hashivault://k?mount=m",
	} {
		t.Run(url, func(t *testing.T) {
			c, warnings, err := load(t, strings.Split(environ, ","))
			require.NoError(t, err, environ)
			require.Empty(t, warnings)
			require.EqualValues(t, url, c.KMS.KEK, environ)
			require.Equal(t, url == "", c.Local())
		})
	}
}

// Without a secret, AZURE_CLIENT_ID and AZURE_TENANT_ID name a workload's or a user-assigned identity.
func TestAzureSecretNeedsClientAndTenant(t *testing.T) {
	environ := []string{"KMS_PROVIDER=azure", "AZURE_KEY_VAULT_URL=https://v.vault.azure.net", "AZURE_KEY_NAME=k"}
	for _, more := range [][]string{
		nil, {"AZURE_CLIENT_ID=c"}, {"AZURE_TENANT_ID=t"}, {"AZURE_CLIENT_ID=c", "AZURE_TENANT_ID=t"}, {"AZURE_CLIENT_ID=c", "AZURE_TENANT_ID=t", "AZURE_CLIENT_SECRET=s"},
	} {
		_, _, err := load(t, append(more, environ...))
		require.NoError(t, err, more)
	}
	for missing, more := range map[string][]string{
		"AZURE_CLIENT_ID": {"AZURE_CLIENT_SECRET=s", "AZURE_TENANT_ID=t"}, "AZURE_TENANT_ID": {"AZURE_CLIENT_SECRET=s", "AZURE_CLIENT_ID=c"},
	} {
		t.Run(missing, func(t *testing.T) {
			_, _, err := load(t, append(more, environ...))
			require.ErrorContains(t, err, "- "+missing+" must be set")
		})
	}
}

func TestVaultSkipVerifyWarnsOutsideProduction(t *testing.T) {
	for _, value := range []string{"true", "1", "false"} {
		_, warnings, err := load(t, []string{"VAULT_SKIP_VERIFY=" + value, "COFFER_ENVIRONMENT=staging", "COFFER_PRODUCTION=false"})
		require.NoError(t, err)
		require.Equal(t, value != "false", strings.Contains(strings.Join(warnings, ""), "VAULT_SKIP_VERIFY is true"), value)
	}
}

func TestLoadNamesAllProblemsOfAProvider(t *testing.T) {
	const planted = "pl4nted"
	for environ, names := range map[string]string{
		"KMS_PROVIDER=" + planted:                                                   "KMS_PROVIDER",
		"KMS_PROVIDER=aws":                                                          "AWS_REGION AWS_KMS_KEY_ID",
		"KMS_PROVIDER=aws,AWS_ACCESS_KEY_ID=" + planted:                             "AWS_REGION AWS_KMS_KEY_ID AWS_SECRET_ACCESS_KEY",
		"KMS_PROVIDER=azure,AZURE_CLIENT_SECRET=" + planted:                         "AZURE_KEY_VAULT_URL AZURE_KEY_NAME AZURE_TENANT_ID AZURE_CLIENT_ID",
		"KMS_PROVIDER=azure,AZURE_KEY_NAME=k,AZURE_KEY_VAULT_URL=http://" + planted: "AZURE_KEY_VAULT_URL",
		"KMS_PROVIDER=gcp":                                                          "GCP_PROJECT_ID GCP_LOCATION GCP_KEY_RING GCP_KEY_NAME",
		"KMS_PROVIDER=vault":                                                        "VAULT_ADDR VAULT_TOKEN",
		"VAULT_SKIP_VERIFY=true,COFFER_ENVIRONMENT=prod":                            "VAULT_SKIP_VERIFY",
		"COFFER_KEK=" + planted:                                                     "COFFER_KEK",
		"COFFER_KEK=":                                                               "COFFER_KEK",
		"COFFER_KEK=hashivault://" + planted + ",KMS_PROVIDER=vault":                "COFFER_KEK",
		"COFFER_KEK=hashivault://k,PHI_ENCRYPTION_PASSPHRASE=" + planted + planted:  "PHI_ENCRYPTION_PASSPHRASE",
		"COFFER_KEK=hashivault://k,ENCRYPTION_PASSPHRASE=" + planted + planted:      "ENCRYPTION_PASSPHRASE",
		"PHI_ENCRYPTION_KEY=short,PII_ENCRYPTION_KEY=,GENERAL_ENCRYPTION_KEY=short": "PHI_ENCRYPTION_KEY PII_ENCRYPTION_KEY GENERAL_ENCRYPTION_KEY",
		"ENCRYPTION_PASSPHRASE=" + planted + planted + ",GENERAL_ENCRYPTION_PASSPHRASE=" + planted + "xxxx": "GENERAL_ENCRYPTION_PASSPHRASE",
	} {
		t.Run(strings.ReplaceAll(environ, planted, "planted"), func(t *testing.T) {
			_, _, err := load(t, strings.Split(environ, ","))
			require.Error(t, err, environ)
			require.NotContains(t, err.Error(), planted)
			for _, name := range strings.Fields(names) {
				require.ErrorContains(t, err, "- "+name+" ", environ)
			}
			require.Equal(t, len(strings.Fields(names)), strings.Count(err.Error(), "\n  - "), err)
		})
	}
}

func TestClassesHaveMasterKeysOfTheirOwn(t *testing.T) {
	c, _, err := load(t, []string{"GENERAL_ENCRYPTION_PASSPHRASE=general secret", "PHI_ENCRYPTION_KEY=" + master, "PII_ENCRYPTION_PASSPHRASE=the pii secret"})
	require.NoError(t, err)
	require.Equal(t, config.MasterKey{Passphrase: "general secret"}, c.MasterKey)
	require.Equal(t, map[classify.Class]config.MasterKey{classify.PHI: {Key: masterBytes()}, classify.PII: {Passphrase: "the pii secret"}}, c.KMS.Classes)
}

// Every environment but dev is production unless COFFER_PRODUCTION is false. No pattern guesses at labels.
func TestProductionTakesAKMS(t *testing.T) {
	const vault, local = "COFFER_KEK=hashivault://k", "ENCRYPTION_PASSPHRASE=a long passphrase"
	for _, production := range []string{
		"COFFER_ENVIRONMENT=prod", "COFFER_ENVIRONMENT=live", "COFFER_ENVIRONMENT=prd", "COFFER_ENVIRONMENT=staging", "COFFER_PRODUCTION=true",
	} {
		for _, key := range []string{local, "COFFER_KEK=file:///key", "COFFER_KEK=base64key://AAAA", ""} {
			c, _, err := load(t, []string{production, key})
			require.NoError(t, err, "the commands that move its keys work")
			require.ErrorContains(t, c.CheckProduction(), "set KMS_PROVIDER", production)
			require.ErrorContains(t, c.CheckProduction(), "set COFFER_PRODUCTION=false", production)
			_, _, err = config.Describe([]string{production, key}, nil)
			require.ErrorContains(t, err, "set KMS_PROVIDER")
		}
		c, _, err := load(t, []string{production, vault})
		require.NoError(t, err)
		require.NoError(t, c.CheckProduction())
	}
	for _, environ := range [][]string{{"COFFER_ENVIRONMENT=dev"}, {}, {"COFFER_ENVIRONMENT=staging", "COFFER_PRODUCTION=false"}, {"COFFER_ENVIRONMENT=prod", "COFFER_PRODUCTION=false"}} {
		c, _, err := load(t, append(environ, local))
		require.NoError(t, err)
		require.NoError(t, c.CheckProduction(), environ)
	}
}

func TestDescribeHidesCredentials(t *testing.T) {
	const planted = "pl4nted"
	environ := []string{"KMS_PROVIDER=local"}
	for _, name := range []string{
		"AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET", "VAULT_TOKEN", "PHI_ENCRYPTION_PASSPHRASE", "PII_ENCRYPTION_PASSPHRASE",
		"GENERAL_ENCRYPTION_PASSPHRASE",
	} {
		environ = append(environ, name+"=the "+planted)
	}
	environ = append(environ, "AZURE_TENANT_ID=a", "AZURE_CLIENT_ID=b", "VAULT_ADDR=https://u:"+planted+"@vault")
	settings, _, err := config.Describe(environ, nil)
	require.NoError(t, err)
	for _, s := range settings {
		require.NotContains(t, s.Value, planted, s.Variable)
	}
	c, _, err := load(t, environ)
	require.NoError(t, err)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", c, c, c), planted)
	require.Equal(t, planted, strings.TrimPrefix(string(c.KMS.Vault.Token), "the "))
}
