package faults

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
)

// clockVariable is the environment variable with the path of a file. The file contains the number of seconds by which the
// clock of shiftable is ahead.
const clockVariable = "FAULTS_CLOCK"

// shiftable builds the server with a standard library whose wall clock can be shifted while the process runs. The overlay is
// made from the sources of the Go that builds it.
func shiftable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	source := filepath.Join(string(bytes.TrimSpace(goroot)), "src", "time", "time.go")
	content, err := os.ReadFile(source)
	require.NoError(t, err)
	const now = "sec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
	require.Equal(t, 1, bytes.Count(content, []byte(now)), "time.Now of this Go looks otherwise")
	content = bytes.Replace(content, []byte(now), []byte("sec, nsec, mono := runtimeNow()\n\tsec += Shift.Load()\n\tif mono == 0 {"), 1)
	module, err := filepath.Abs("../..")
	require.NoError(t, err)
	shift := filepath.Join(filepath.Dir(source), "shift.go")
	watch := filepath.Join(module, "cmd", "server", "shift.go")
	replace := map[string]string{}
	for path, text := range map[string][]byte{
		source: content,
		shift:  []byte("package time\n\nimport \"sync/atomic\"\n\nvar Shift atomic.Int64\n"),
		watch: []byte("package main\n\nimport (\n\t\"os\"\n\t\"strconv\"\n\t\"time\"\n)\n\nfunc init() {\n\tshift := func() {\n" +
			"\t\ttext, _ := os.ReadFile(os.Getenv(\"" + clockVariable + "\"))\n\t\tseconds, _ := strconv.ParseInt(string(text), 10, 64)\n" +
			"\t\ttime.Shift.Store(seconds)\n\t}\n\tshift()\n\tgo func() {\n\t\tfor range time.Tick(10 * time.Millisecond) {\n\t\t\tshift()\n\t\t}\n\t}()\n}\n"),
	} {
		file := filepath.Join(dir, filepath.Base(filepath.Dir(path))+"-"+filepath.Base(path))
		require.NoError(t, os.WriteFile(file, text, 0o600))
		replace[path] = file
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	path := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(path, overlay, 0o600))
	binary := filepath.Join(dir, "coffer")
	cmd := exec.Command("go", "build", "-overlay", path, "-o", binary, "./cmd/server")
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	proctest.Bind(cmd)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// ownClock configures the server to use a clock that can be shifted.
func ownClock(w *world) {
	w.binary, w.clock = shiftable(w.t), filepath.Join(w.t.TempDir(), "clock")
	w.env = append(w.env, clockVariable+"="+w.clock)
}

// shift sets the time by which the server's clock is ahead. It returns after the server has had time to read it.
func (w *world) shift(by time.Duration) {
	seconds := strconv.FormatInt(int64(by/time.Second), 10)
	require.NoError(w.t, os.WriteFile(w.clock+".new", []byte(seconds), 0o600))
	require.NoError(w.t, os.Rename(w.clock+".new", w.clock))
	time.Sleep(200 * time.Millisecond)
}
