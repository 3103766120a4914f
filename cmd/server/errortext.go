package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// errorText returns the text of an error for operators: without names of packages, without repetitions, and with the errors of the operating
// system in plain words.
func errorText(err error) string {
	var lines []string
	for line := range strings.SplitSeq(plainText(err), "\n") {
		var kept []string
		for segment := range strings.SplitSeq(line, ": ") {
			if bare := strings.TrimSpace(segment); !packageNames.MatchString(bare) && !slices.Contains(kept, segment) {
				kept = append(kept, segment)
			}
		}
		if line = strings.Join(kept, ": "); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// packageNames are segments of an error's text that help developers only.
var packageNames = regexp.MustCompile(`^(coffer|api|audit|cache|config|durable|duration|envelope|format|identity|keyring|keystore|kms|kv|lifecycle|limit|mirror|oidc|` +
	`recovery|rediskeys|rediskv|rotation|seal|session|sqlitekeys|sqlitekv|token|awskms|gcpkms|azurekeyvault|hashivault|redis|sqlite|\{coffer-keys\}/\S*)$`)

// connectionProblems are texts of the operating system about a connection, and plain words for them.
var connectionProblems = []struct {
	system *regexp.Regexp
	plain  string
}{

	{regexp.MustCompile(`(?:dial|read|write) (?:tcp|unix) (?:\S+->)?(\S+): (?:connect: )?connection refused`), "nothing listens on $1"},
	{regexp.MustCompile(`(?:dial|read|write) (?:tcp|unix) (?:\S+->)?(\S+): i/o timeout`), "$1 does not answer"},
	{regexp.MustCompile(`(?:dial|read|write) (?:tcp|unix) (?:\S+->)?(\S+): (?:connect|read|write): (?:connection reset by peer|broken pipe|no route to host|network is unreachable)`), "$1 cannot be reached"},
	{regexp.MustCompile(`(?:dial|listen) tcp: lookup (\S+)(?: on \S+)?: no such host`), "the host $1 is not known"},
	{regexp.MustCompile(`context deadline exceeded(?: \(Client\.Timeout.*\))?`), "there was no answer in time"},
	{regexp.MustCompile(`context canceled`), "interrupted"},
	{regexp.MustCompile(`\b(?:unexpected )?EOF\b`), "the connection or the file ended too early"},
}

// plainText returns the text of an error, with the errors of the operating system about files and connections in plain words.
func plainText(err error) string {
	text := err.Error()
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		where := path.Path
		if strings.HasPrefix(filepath.Base(where), ".writing-") { // a temporary file
			where = filepath.Dir(where)
		}
		text = strings.ReplaceAll(text, path.Error(), where+" "+fileProblem(path.Err))
	}
	if link := (*os.LinkError)(nil); errors.As(err, &link) {
		text = strings.ReplaceAll(text, link.Error(), link.New+" "+fileProblem(link.Err))
	}
	for _, c := range connectionProblems {
		text = c.system.ReplaceAllString(text, c.plain)
	}
	return text
}

func fileProblem(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "is not accessible to this user"
	case errors.Is(err, fs.ErrExist):
		return "exists already"
	case errors.Is(err, syscall.EROFS):
		return "is on a read-only disk"
	case errors.Is(err, syscall.ENOSPC):
		return "is on a disk with no space left"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return "is a file and must be a directory, or the reverse"
	}
	return "cannot be used (" + err.Error() + ")"
}
