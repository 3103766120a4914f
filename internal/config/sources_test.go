package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/config"
)

// inDirectory changes to a new directory that has a .env.
func inDirectory(t *testing.T, content string, mode os.FileMode) {
	t.Helper()
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile(".env", []byte(content), mode))
}

func TestDotenvIsTheLastSource(t *testing.T) {
	inDirectory(t, "# a comment\nexport COFFER_RATE=5\nCOFFER_BURST='6'\r\nREDIS_HOST=filed\nREDIS_PASSWORD='p#$a'\nCOFFER_LISTEN=\nOTHERS=7\n", 0o600)
	c, warnings, err := load(t, []string{"REDIS_HOST=real"}, "--burst", "9")
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, 5, c.Limits.Rate)
	require.Equal(t, 9, c.Limits.Burst, "a flag wins")
	require.Equal(t, "real", c.Redis.Host, "a real variable wins")
	require.EqualValues(t, "p#$a", c.Redis.Password)
	require.Equal(t, "127.0.0.1:8080", c.Listen)
	for _, variable := range []string{"COFFER_RATE", "OTHERS"} {
		_, there := os.LookupEnv(variable)
		require.False(t, there, "the environment of the process is as it was")
	}

	settings, _, err := config.Describe([]string{"REDIS_HOST=real"}, nil)
	require.NoError(t, err)
	sources := map[string]config.Setting{}
	for _, s := range settings {
		sources[s.Variable] = s
	}
	require.Equal(t, config.Setting{Variable: "COFFER_RATE", Value: "5", Source: ".env"}, sources["COFFER_RATE"])
	require.Equal(t, config.Setting{Variable: "REDIS_PASSWORD", Value: "[secret]", Source: ".env"}, sources["REDIS_PASSWORD"])
	require.Equal(t, "environment", sources["REDIS_HOST"].Source)
}

func TestDotenvIsIgnoredOutsideDevelopment(t *testing.T) {
	inDirectory(t, "COFFER_RATE=5\n", 0o644)
	for _, environment := range []string{"prod", "staging", "development"} {
		t.Run(environment, func(t *testing.T) {
			c, warnings, err := load(t, []string{"COFFER_ENVIRONMENT=" + environment})
			require.NoError(t, err)
			require.Empty(t, warnings)
			require.Zero(t, c.Limits.Rate, environment)
		})
	}
	c, _, err := load(t, []string{"COFFER_ENVIRONMENT=dev"}, "--environment", "prod")
	require.NoError(t, err)
	require.Zero(t, c.Limits.Rate)

	c, warnings, err := load(t, []string{"COFFER_ENVIRONMENT=dev"})
	require.NoError(t, err)
	require.Equal(t, 5, c.Limits.Rate)
	require.Equal(t, []string{".env can be read by others: chmod 600 .env"}, warnings)
}

func TestLoadRefusesABadDotenv(t *testing.T) {
	for content, says := range map[string]string{
		"REDIS_PASSWORD='" + planted:             ".env must consist of lines NAME=value",
		planted + "\nCOFFER_RATE=5":              ".env must consist of lines",
		"COFFER_RATE=" + planted:                 "COFFER_RATE must be",
		"COFFER_RATES=" + planted:                "COFFER_RATES is not the name of a setting: did you mean COFFER_RATE?",
		"COFFER_ENVIRONMENT=prod":                "COFFER_ENVIRONMENT can only be dev in .env",
		"ENCRYPTION_MASTER_KEY=":                 "ENCRYPTION_MASTER_KEY is set but empty",
		"A=" + strings.Repeat("a", 64<<10):       ".env cannot be read",
		"REDIS_PASSWORD_FILE=/nowhere" + planted: "REDIS_PASSWORD_FILE must name a file",
	} {
		t.Run(content, func(t *testing.T) {
			inDirectory(t, content, 0o600)
			_, warnings, err := load(t, nil)
			require.ErrorContains(t, err, says)
			require.NotContains(t, err.Error()+strings.Join(warnings, ""), planted)
		})
	}
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir(".env", 0o700))
	_, _, err := load(t, nil)
	require.ErrorContains(t, err, ".env cannot be read")
}

// A problem names the variable of the file, because that is set.
func TestSecretsAreReadFromFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(content string) string {
		path := filepath.Join(dir, "secret")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o400))
		t.Cleanup(func() { _ = os.Remove(path) })
		return path
	}
	path := file(planted + " and more\r\n")
	c, warnings, err := load(t, []string{"ENCRYPTION_PASSPHRASE_FILE=" + path, "REDIS_PASSWORD_FILE=" + path, "REDIS_HOST=h"})
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.EqualValues(t, planted+" and more", c.MasterKey.Passphrase)
	require.EqualValues(t, planted+" and more", c.Redis.Password)
	settings, _, err := config.Describe([]string{"ENCRYPTION_PASSPHRASE_FILE=" + path}, nil)
	require.NoError(t, err)
	require.Contains(t, settings, config.Setting{Variable: "ENCRYPTION_PASSPHRASE", Value: "[secret]", Source: "ENCRYPTION_PASSPHRASE_FILE"})
	require.Contains(t, settings, config.Setting{Variable: "ENCRYPTION_PASSPHRASE_FILE", Value: path, Source: "environment"})

	require.NoError(t, os.Remove(path))
	for environ, says := range map[string]string{
		"REDIS_URL_FILE=" + file(planted):                                                     "REDIS_URL_FILE is not valid",
		"ENCRYPTION_MASTER_KEY_FILE=" + path:                                                  "ENCRYPTION_MASTER_KEY_FILE must be 32 random bytes",
		"ENCRYPTION_MASTER_KEY=12345678 9,ENCRYPTION_MASTER_KEY_FILE=" + path:                 "ENCRYPTION_MASTER_KEY and ENCRYPTION_MASTER_KEY_FILE are both set",
		"REDIS_PASSWORD_FILE=" + path:                                                         "REDIS_PASSWORD_FILE is set, but not REDIS_HOST",
		"REDIS_HOST=h,REDIS_PASSWORD_FILE=" + dir:                                             "REDIS_PASSWORD_FILE must name a file",
		"REDIS_HOST=h,REDIS_PASSWORD_FILE=/dev/null/" + planted:                               "REDIS_PASSWORD_FILE must name a file",
		"REDIS_SENTINEL_ADDRS=h:1,REDIS_MASTER_NAME=m,REDIS_SENTINEL_PASSWORD_FILE=/dev/zero": "REDIS_SENTINEL_PASSWORD_FILE must name a file",
	} {
		t.Run(environ, func(t *testing.T) {
			_, _, err := load(t, strings.Split(environ, ","))
			require.ErrorContains(t, err, says)
			require.NotContains(t, err.Error(), planted)
		})
	}
	require.NoError(t, os.Remove(path))
	_, _, err = load(t, []string{"REDIS_HOST=h", "REDIS_PASSWORD_FILE=" + file("\n")})
	require.ErrorContains(t, err, "REDIS_PASSWORD_FILE names a file without a secret in it")
}

func TestEnvironmentWinsOverDotenvForSecretFilesToo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte("from the file"), 0o600))
	inDirectory(t, "ENCRYPTION_PASSPHRASE='from .env'\n", 0o600)
	c, _, err := load(t, []string{"ENCRYPTION_PASSPHRASE_FILE=" + path})
	require.NoError(t, err)
	require.EqualValues(t, "from the file", c.MasterKey.Passphrase)
	inDirectory(t, "ENCRYPTION_PASSPHRASE_FILE="+path+"\n", 0o600)
	c, _, err = load(t, []string{"ENCRYPTION_PASSPHRASE=from the environment"})
	require.NoError(t, err)
	require.EqualValues(t, "from the environment", c.MasterKey.Passphrase)
}

func TestHelpNamesEverySettingAndNoOther(t *testing.T) {
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(set)
	help := config.Help() + set.FlagUsages()
	known := map[string]bool{}
	settings, _, err := config.Describe(nil, nil)
	require.NoError(t, err)
	for _, s := range settings {
		known[s.Variable] = true
		require.Contains(t, help, strings.TrimSuffix(s.Variable, "_FILE"))
	}
	set.VisitAll(func(f *pflag.Flag) {
		_, variable, _ := strings.Cut(f.Usage, "; environment ")
		require.NotContains(t, config.Help(), "    "+variable, "it has a flag")
	})
	for _, name := range regexp.MustCompile(`\b(?:COFFER|REDIS|ENCRYPTION|KDF|KEY|KMS|AWS|AZURE|GOOGLE|GCP|VAULT|GENERAL|PII|PHI)_[A-Z_]+[A-Z]`).FindAllString(help, -1) {
		require.True(t, known[name], name)
	}
}

var update = flag.Bool("update", false, "write .env.example")

func TestExampleIsCurrent(t *testing.T) {
	const path = "../../.env.example"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(config.Example()), 0o644))
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, config.Example(), string(content), "run go generate ./internal/config")
}

// Without its comment marks, every line of the example sets a variable to its default.
func TestExampleHasTheDefaults(t *testing.T) {
	defaults, _, err := config.Describe(nil, nil)
	require.NoError(t, err)
	var uncommented []string
	for line := range strings.Lines(config.Example()) {
		if strings.HasPrefix(line, "#") && strings.Contains(line, "=") && !strings.HasPrefix(line, "# ") {
			uncommented = append(uncommented, strings.TrimSpace(line[1:]))
		}
	}
	want := []string{}
	for _, s := range defaults {
		want = append(want, s.Variable+"="+s.Value)
	}
	require.Equal(t, want, uncommented)
	inDirectory(t, strings.Join(slices.DeleteFunc(uncommented, func(line string) bool { return strings.HasSuffix(line, "=") }), "\n"), 0o600)
	copied, warnings, err := config.Describe(nil, nil)
	require.NoError(t, err)
	require.Empty(t, warnings)
	for i := range defaults {
		require.Equal(t, defaults[i].Value, copied[i].Value, defaults[i].Variable)
	}
}

// Variables of other providers may be there for other programs.
func TestDotenvRefusesVariablesThatOnlyTheSDKReads(t *testing.T) {
	const others = "\nAWS_PROFILE=x\nAZURE_AUTHORITY_HOST=x\nVAULT_CACERT=x\nGOOGLE_CLOUD_QUOTA_PROJECT=x\n"
	for settings, refused := range map[string]string{
		"KMS_PROVIDER=vault\nVAULT_ADDR=https://v\nVAULT_TOKEN=t\nVAULT_KEY_NAME=k\nVAULT_NAMESPACE=n":                                "VAULT_NAMESPACE VAULT_CACERT",
		"COFFER_KEK=awskms:///alias/k?region=eu-west-1\nAWS_REGION=r\nAWS_ENDPOINT_URL_KMS=https://e":                                 "AWS_ENDPOINT_URL_KMS AWS_PROFILE",
		"KMS_PROVIDER=azure\nAZURE_KEY_VAULT_URL=https://v\nAZURE_KEY_NAME=k\nAZURE_CLIENT_ID=c\nAZURE_TENANT_ID=t":                   "AZURE_AUTHORITY_HOST AZURE_CLIENT_ID",
		"COFFER_KEK=azurekeyvault://v/keys/k\nAZURE_CLIENT_SECRET=s\nAZURE_CLIENT_ID=c\nAZURE_TENANT_ID=t":                            "AZURE_AUTHORITY_HOST",
		"COFFER_KEK=gcpkms://projects/p\nGOOGLE_APPLICATION_CREDENTIALS=f":                                                            "GOOGLE_CLOUD_QUOTA_PROJECT",
		"ENCRYPTION_PASSPHRASE=a long passphrase\nVAULT_ADDR=https://v\nVAULT_SKIP_VERIFY=x\nVAULT_NAMESPACE=n\nAWS_REGION=us-east-1": "",
	} {
		t.Run(settings, func(t *testing.T) {
			inDirectory(t, settings+others, 0o600)
			c, _, err := load(t, nil)
			if refused == "" {
				require.NoError(t, err)
				for kek, says := range map[string]string{ // of KEKs that a command is given beside the configured one
					"awskms:///alias/k": "AWS_PROFILE is taken", "azurekeyvault://v/keys/k": "AZURE_AUTHORITY_HOST is taken",
					"gcpkms://projects/p": "GOOGLE_CLOUD_QUOTA_PROJECT is taken", "hashivault://k": "VAULT_CACERT, VAULT_NAMESPACE, VAULT_SKIP_VERIFY is taken",
				} {
					require.ErrorContains(t, c.KMS.Check(kek), says)
				}
				require.NoError(t, c.KMS.Check("file:///k"))
				return
			}
			require.Error(t, err, settings)
			for _, name := range strings.Fields(refused) {
				require.ErrorContains(t, err, "- "+name+" is taken from the environment alone")
			}
			require.Equal(t, len(strings.Fields(refused)), strings.Count(err.Error(), "\n  - "), err)
			var environ []string
			for _, name := range strings.Fields(refused) {
				environ = append(environ, name+"=x")
			}
			_, _, err = load(t, environ)
			require.NoError(t, err)
		})
	}
}

func TestSecretFilesThatEveryUserCanReadWarn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte("a long passphrase\n"), 0o600))
	for mode, warned := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o602: true} {
		require.NoError(t, os.Chmod(path, mode))
		for _, variable := range []string{"ENCRYPTION_PASSPHRASE_FILE", "PHI_ENCRYPTION_PASSPHRASE_FILE"} {
			_, warnings, err := load(t, []string{variable + "=" + path})
			require.NoError(t, err)
			require.Equal(t, warned, len(warnings) == 1 && strings.Contains(warnings[0], variable+" can be read by every user"), "%o %v", mode, warnings)
		}
	}
}
