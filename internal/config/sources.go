package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/joho/godotenv"
	"github.com/spf13/pflag"
)

const (
	// dotenv is read from the working directory, and in development only: elsewhere a file that lies there by
	// accident changes nothing.
	dotenv      = ".env"
	development = "dev"
	maxFile     = 64 << 10 // bytes of .env, or of the file of a secret
	fileSuffix  = "_FILE"
)

// secrets are the variables whose values are never shown. Each may be given as the path of a file instead, by
// the variable that has _FILE behind its name, as containers and systemd hand over secrets.
var secrets = []string{"ENCRYPTION_MASTER_KEY", "ENCRYPTION_PASSPHRASE", "REDIS_URL", "REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD", "COFFER_KEYS_REDIS_URL",
	"GENERAL_ENCRYPTION_KEY", "GENERAL_ENCRYPTION_PASSPHRASE", "PII_ENCRYPTION_KEY", "PII_ENCRYPTION_PASSPHRASE",
	"PHI_ENCRYPTION_KEY", "PHI_ENCRYPTION_PASSPHRASE", "COFFER_KEK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET",
	"VAULT_TOKEN"}

// newLoader lays the sources over each other: a flag wins over the environment, which wins over .env.
func newLoader(environ []string, set *pflag.FlagSet) *loader {
	l := &loader{values: map[string]string{}, given: map[string]string{}, file: map[string]bool{}}
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok && there(name, value) {
			l.values[name] = value
		}
	}
	for _, f := range flags {
		if set == nil || !set.Changed(f.name) {
			continue
		}
		l.given[f.variable] = "--" + f.name
		if l.values[f.variable] = set.Lookup(f.name).Value.String(); l.values[f.variable] == "" {
			l.refuse(f.variable, "is given without a value")
		}
	}
	if label, ok := l.values["COFFER_ENVIRONMENT"]; !ok || label == development {
		l.dotenv()
	}
	for _, variable := range secrets {
		l.secretFile(variable)
	}
	return l
}

// there reports whether a variable counts: an empty one is what an unset one of a compose file becomes; of a
// master key, that must not go unseen.
func there(name, value string) bool {
	return value != "" || name == "COFFER_KEK" || slices.Contains(masterKeyVariables, name)
}

// dotenv adds what nobody gave otherwise. Nothing of it comes into the environment of the process.
func (l *loader) dotenv() {
	content, info, err := read(dotenv)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.problems = append(l.problems, ".env cannot be read: it must be a file of at most 64 KiB")
		return
	}
	values, err := godotenv.UnmarshalBytes(content)
	if err != nil {
		l.problems = append(l.problems, ".env must be made of lines NAME=value; a value with # or quotes stands in single quotes") // its error quotes the line
		return
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		l.warn(".env can be read by others: chmod 600 .env")
	}
	for name, value := range values {
		if there(name, value) && !l.set(name) && !l.set(twin(name)) {
			l.values[name], l.file[name] = value, true
		}
	}
	if l.file["COFFER_ENVIRONMENT"] && l.values["COFFER_ENVIRONMENT"] != development {
		l.refuse("COFFER_ENVIRONMENT", "can be dev alone in .env, which is read in development only")
	}
}

// twin is the other variable that gives the same secret; empty where there is none.
func twin(name string) string {
	variable := strings.TrimSuffix(name, fileSuffix)
	switch {
	case !slices.Contains(secrets, variable):
		return ""
	case variable == name:
		return name + fileSuffix
	}
	return variable
}

// secretFile reads the secret from the file that its variable names, without the line's end.
func (l *loader) secretFile(variable string) {
	path, ok := l.values[variable+fileSuffix]
	if !ok {
		return
	}
	if l.set(variable) {
		l.refuse(variable, "and "+variable+fileSuffix+" are both set: unset one of them")
		return
	}
	content, info, err := read(path)
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		l.warn("the file of %s can be read by every user of this host: chmod 600, or 640 with a group of its own", variable+fileSuffix)
	}
	l.given[variable] = variable + fileSuffix
	l.values[variable] = strings.TrimRight(string(content), "\r\n")
	switch {
	case err != nil:
		l.refuse(variable, "must name a file of at most 64 KiB that this process can read")
	case l.values[variable] == "":
		l.refuse(variable, "names a file without a secret in it")
	default:
		return
	}
	delete(l.values, variable)
}

// read gives a small file, whole.
func read(path string) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(path) // before it is opened: a pipe would wait for who writes to it
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, nil, errors.New("not a small file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	var content bytes.Buffer
	_, err = io.Copy(&content, io.LimitReader(file, maxFile))
	return content.Bytes(), info, err
}
