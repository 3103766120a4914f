package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	masterKeyCommand = "COFFER_MASTER_KEY_COMMAND"
	commandTimeout   = 30 * time.Second
	commandGrace     = time.Second // how long descendants of an ended program may hold its output open
)

// command reads the program and its arguments. It is run without a shell: words are separated by spaces, and no
// character has another meaning, so a value with one that shells interpret is refused.
func (l *loader) command(text string) []string {
	words := strings.Fields(text)
	switch {
	case len(words) == 0:
		return nil
	case l.file[masterKeyCommand]:
		l.refuse(masterKeyCommand, "cannot be set in .env, for a file of the working directory must not run programs: set it in the environment")
	case strings.ContainsAny(text, "\"'`\\$|&;<>(){}*?~\n"):
		l.refuse(masterKeyCommand, "is run without a shell, and takes no quotes, variables, pipes or other characters of shells: put those into a script")
	}
	for _, other := range masterKeys {
		if l.set(other) && other != "PII_ENCRYPTION_KEY" && other != "PHI_ENCRYPTION_KEY" {
			l.refuse(masterKeyCommand, "and "+l.name(other)+" are both set: unset one of them")
		}
	}
	return words
}

// HasMasterKey reports whether a master key is configured, as text, in a file or by a command.
func (c *Config) HasMasterKey() bool { return c.MasterKey != "" || len(c.MasterKeyCommand) > 0 }

// ReadMasterKey returns the configured master key. If a command prints it, ReadMasterKey runs the command each
// time, for at most 30 seconds. Its output is bounded, and no error quotes it: it may hold the key.
func (c *Config) ReadMasterKey(ctx context.Context) (Secret, error) {
	if len(c.MasterKeyCommand) == 0 {
		return c.MasterKey, nil
	}
	text, err := output(ctx, c.MasterKeyCommand)
	if err != nil {
		return "", fmt.Errorf("%s: %w", masterKeyCommand, err)
	}
	if why := badMasterKey(text); why != "" {
		return "", fmt.Errorf("%s: what it printed %s", masterKeyCommand, why)
	}
	return Secret(text), nil
}

// output runs a program and returns what it prints, without the end of the line.
func output(ctx context.Context, words []string) (string, error) {
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
