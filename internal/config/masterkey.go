package config

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
)

const (
	masterKeyVariable  = "ENCRYPTION_MASTER_KEY"
	passphraseVariable = "ENCRYPTION_PASSPHRASE"
	masterKeyCommand   = "COFFER_MASTER_KEY_COMMAND"
	passphraseCommand  = "COFFER_PASSPHRASE_COMMAND"
	commandTimeout     = 30 * time.Second
	commandGrace       = time.Second // how long descendants of an ended program may keep its output open

	masterKeySize = 32 // bytes
	// minPassphrase is the shortest passphrase in characters (NIST SP 800-63B section 5.1.1.2).
	minPassphrase = 8
)

// masterKeyVariables are the variables of keys and passphrases. One that is set but empty is an error: the server would otherwise make
// a key of its own.
var masterKeyVariables = []string{
	masterKeyVariable, "GENERAL_ENCRYPTION_KEY", "PII_ENCRYPTION_KEY", "PHI_ENCRYPTION_KEY",
	passphraseVariable, "GENERAL_ENCRYPTION_PASSPHRASE", "PII_ENCRYPTION_PASSPHRASE", "PHI_ENCRYPTION_PASSPHRASE",
}

// MasterKey is the secret of a local KEK: a key, a passphrase, or a command that prints one of them. At most one field is set. The zero
// MasterKey is not configured.
type MasterKey struct {
	Key               Secret   // 32 random bytes
	Passphrase        Secret   // stretched by PBKDF2
	KeyCommand        []string // a program that prints the key in base64, and its arguments
	PassphraseCommand []string // a program that prints the passphrase, and its arguments
}

// Configured reports whether there is a key, a passphrase or a command.
func (m *MasterKey) Configured() bool {
	return m.Key != "" || m.Passphrase != "" || len(m.KeyCommand) > 0 || len(m.PassphraseCommand) > 0
}

// IsPassphrase reports whether the master key is a passphrase, given or printed by a command.
func (m *MasterKey) IsPassphrase() bool { return m.Passphrase != "" || len(m.PassphraseCommand) > 0 }

// Read returns the master key with its Key or Passphrase set. If a command prints it, Read runs the command each time, for at most 30
// seconds. The output is limited to 64 KiB, and no error quotes it.
func (m *MasterKey) Read(ctx context.Context) (MasterKey, error) {
	command, variable := m.KeyCommand, masterKeyCommand
	if len(m.PassphraseCommand) > 0 {
		command, variable = m.PassphraseCommand, passphraseCommand
	}
	if len(command) == 0 {
		return *m, nil
	}
	text, err := runCommand(ctx, command)
	if err != nil {
		return MasterKey{}, fmt.Errorf("%s: %w", variable, err)
	}
	read, problem := parseKey(text, passphraseCommand)
	if variable == passphraseCommand {
		read, problem = parsePassphrase(text)
	}
	if problem != "" {
		return MasterKey{}, fmt.Errorf("%s: its output %s", variable, problem)
	}
	return read, nil
}

// parseKey returns the key of a text, or the reason why it is refused. passphrase names the setting that takes a passphrase instead.
func parseKey(text, passphrase string) (m MasterKey, problem string) {
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(key) != masterKeySize || strings.ContainsAny(text, "\r\n") {
		return MasterKey{}, "must be 32 random bytes in base64 (openssl rand -base64 32); for a passphrase, set " + passphrase
	}
	return MasterKey{Key: Secret(key)}, ""
}

// parsePassphrase returns the passphrase of a text, or the reason why it is refused.
func parsePassphrase(text string) (m MasterKey, problem string) {
	switch {
	case !utf8.ValidString(text):
		return MasterKey{}, "must be valid UTF-8"
	case strings.ContainsRune(text, 0):
		return MasterKey{}, "must not contain a NUL character"
	case utf8.RuneCountInString(text) < minPassphrase:
		return MasterKey{}, "must have at least " + strconv.Itoa(minPassphrase) + " characters"
	}
	return MasterKey{Passphrase: Secret(text)}, ""
}

// masterKey returns the master key of all classes.
func (l *loader) masterKey() MasterKey {
	return l.masterKeyOf(masterKeyVariable, "GENERAL_ENCRYPTION_KEY", passphraseVariable, "GENERAL_ENCRYPTION_PASSPHRASE", masterKeyCommand, passphraseCommand)
}

// classMasterKey returns the master key that a class has of its own.
func (l *loader) classMasterKey(class classify.Class) MasterKey {
	prefix := strings.ToUpper(class.String()) + "_ENCRYPTION_"
	return l.masterKeyOf(prefix+"KEY", prefix+"PASSPHRASE")
}

// masterKeyOf returns the master key that one of the variables configures. It refuses a second one with another value.
func (l *loader) masterKeyOf(variables ...string) (m MasterKey) {
	var source string
	for _, variable := range variables {
		one := l.parseMasterKey(variable)
		switch {
		case !one.Configured():
		case source == "":
			m, source = one, variable
		case !reflect.DeepEqual(one, m):
			l.refuse(variable, "and "+l.source(source)+" are both set: unset one of them")
		}
	}
	return m
}

// parseMasterKey reads one variable of a key, a passphrase or a command.
func (l *loader) parseMasterKey(variable string) (m MasterKey) {
	text, ok := l.values[variable]
	if !ok {
		return MasterKey{}
	}
	var problem string
	switch {
	case variable == masterKeyCommand:
		return MasterKey{KeyCommand: l.command(variable)}
	case variable == passphraseCommand:
		return MasterKey{PassphraseCommand: l.command(variable)}
	case text == "":
		problem = "is set but empty: give it a value, or unset it"
	case strings.HasSuffix(variable, "_PASSPHRASE"):
		m, problem = parsePassphrase(text)
	case variable == masterKeyVariable:
		m, problem = parseKey(text, passphraseVariable)
	default:
		m, problem = parseKey(text, strings.TrimSuffix(variable, "KEY")+"PASSPHRASE")
	}
	if problem != "" {
		l.refuse(variable, problem)
	}
	return m
}

// command returns the program and the arguments of a variable. The program is run without a shell: spaces separate words, and a value
// with a character that shells interpret is refused.
func (l *loader) command(variable string) []string {
	text := l.values[variable]
	words := strings.Fields(text)
	switch {
	case len(words) == 0:
		return nil
	case l.file[variable]:
		l.refuse(variable, "cannot be set in .env, because a file of the working directory must not run programs: set it in the environment")
	case strings.ContainsAny(text, "\"'`\\$|&;<>(){}*?~\n"):
		l.refuse(variable, "is run without a shell, and takes no quotes, variables, pipes or other characters of shells: put them into a script")
	}
	return words
}

// runCommand runs a program and returns what it prints, without the end of the line.
func runCommand(ctx context.Context, words []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	printed := &boundedBuffer{left: maxFile, exceeded: cancel}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stdout, cmd.WaitDelay = printed, commandGrace
	err := cmd.Run()
	text := strings.TrimRight(printed.buffer.String(), "\r\n")
	clear(printed.buffer.Bytes())
	var exit *exec.ExitError
	switch {
	case printed.left < 0:
		return "", errors.New("it printed more than 64 KiB")
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", fmt.Errorf("it did not end within %s", commandTimeout)
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.As(err, &exit):
		return "", fmt.Errorf("it failed (%s): run it by hand to see why", exit.ProcessState)
	case err != nil:
		return "", errors.New("the program cannot be run: give its path, and the right to execute it")
	case text == "":
		return "", errors.New("it printed nothing")
	}
	return text, nil
}

// boundedBuffer keeps what is written to it, up to a limit. Beyond that it fails and calls exceeded.
type boundedBuffer struct {
	buffer   bytes.Buffer // not embedded: its ReadFrom would go past the limit
	left     int          // negative once the limit is exceeded
	exceeded func()
}

// Write implements io.Writer.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		b.left = -1
		b.exceeded()
		return 0, errors.New("config: too much output")
	}
	return b.buffer.Write(p)
}
