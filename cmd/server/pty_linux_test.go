package main_test

import (
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// onTerminal runs coffer with a terminal as its standard output, and returns what the terminal shows.
func onTerminal(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	defer ours.Close()
	require.NoError(t, unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	theirs, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	cmd := program(t, environ, args...)
	cmd.Stdout = theirs
	require.NoError(t, cmd.Start())
	require.NoError(t, theirs.Close())
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	shown, _ := io.ReadAll(ours) // returns EIO when the program has ended
	require.NoError(t, cmd.Wait())
	require.True(t, kill.Stop())
	return strings.ReplaceAll(string(shown), "\r\n", "\n")
}

// In a pipe, or with --json, it prints the lines of the log.
func TestAuditTailPrintsATableOnATerminal(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	tokenFor(t, environ, data, "clinic")
	shown := onTerminal(t, environ, "audit", "tail", "--data", data)
	require.Regexp(t, `^TIME +SEVERITY +ACTION +OUTCOME +TENANT +SUBJECT +CLASS +CODE *\n\d{4}-`, shown)
	require.Contains(t, shown, "token.create")
	require.NotContains(t, shown, "{")
	require.True(t, strings.HasPrefix(onTerminal(t, environ, "audit", "tail", "--data", data, "--json"), "{"))
	require.True(t, strings.HasPrefix(coffer(t, environ, "audit", "tail", "--data", data), "{"))
}
