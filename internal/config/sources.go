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
	// dotenv is read from the working directory, in development only: elsewhere a file that is there by accident changes nothing.
	dotenv      = ".env"
	development = "dev"
	maxFile     = 64 << 10 // bytes of .env, or of the file of a secret
	fileSuffix  = "_FILE"
)

// readSources reads the values of variables. A flag wins over the environment, which wins over .env.
func (l *loader) readSources(environ []string, set *pflag.FlagSet) {
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok && counts(name, value) {
			l.values[name] = value
		}
	}
	for s := range l.table.all() {
		if s.flag == "" || set == nil || !set.Changed(s.flag) {
			continue
		}
		l.given[s.name] = "--" + s.flag
		if l.values[s.name] = set.Lookup(s.flag).Value.String(); l.values[s.name] == "" {
			l.refuse(s.name, "is given without a value")
		}
	}
	if environment, ok := l.values["COFFER_ENVIRONMENT"]; !ok || environment == development {
		l.readDotenv()
	}
	for s := range l.table.all() {
		if s.kind.secret {
			l.readSecretFile(s.name)
		}
	}
}

// counts reports whether a variable is set. An empty variable is not, because compose files make one of an unset variable. An empty key
// is: the server would otherwise make a key of its own.
func counts(name, value string) bool {
	return value != "" || name == "COFFER_KEK" || slices.Contains(masterKeyVariables, name)
}

// readDotenv adds the variables of .env that are not set otherwise. It does not change the environment of the process.
func (l *loader) readDotenv() {
	content, info, err := readSmallFile(dotenv)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.problems = append(l.problems, ".env cannot be read: it must be a file of at most 64 KiB")
		return
	}
	values, err := godotenv.UnmarshalBytes(content)
	if err != nil {
		l.problems = append(l.problems, ".env must consist of lines NAME=value; put a value with # or quotes in single quotes") // err quotes the line
		return
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		l.warn(".env can be read by others: chmod 600 .env")
	}
	for name, value := range values {
		if counts(name, value) && !l.isSet(name) && !l.isSet(l.table.twin(name)) {
			l.values[name], l.file[name] = value, true
		}
	}
	if l.file["COFFER_ENVIRONMENT"] && l.values["COFFER_ENVIRONMENT"] != development {
		l.refuse("COFFER_ENVIRONMENT", "can only be dev in .env, which is read in development only")
	}
}

// twin returns the other variable of a secret: that of its file for that of its text, and the reverse. It returns "" for any other variable.
func (t table) twin(variable string) string {
	name := strings.TrimSuffix(variable, fileSuffix)
	switch {
	case !t.isSecret(name):
		return ""
	case name == variable:
		return name + fileSuffix
	}
	return name
}

// readSecretFile reads a secret from the file that its variable names, without the end of the line.
func (l *loader) readSecretFile(variable string) {
	path, ok := l.values[variable+fileSuffix]
	if !ok {
		return
	}
	if l.isSet(variable) {
		l.refuse(variable, "and "+variable+fileSuffix+" are both set: unset one of them")
		return
	}
	content, info, err := readSmallFile(path)
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

// readSmallFile returns the content of a regular file of at most maxFile bytes.
func readSmallFile(path string) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(path) // opening a named pipe would block
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
