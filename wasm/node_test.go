//go:build !js

// These tests build the core as a WebAssembly module and call its exports under Node.
package main_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/shared/codes"
)

// saltSpent is the result of planSeal if the shell must draw a new salt.
const saltSpent = -1000

var folder string // contains the built core

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "coffer-core"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// build builds the core once. It returns the paths of Go's wasm_exec.js and the core.
var build = sync.OnceValues(func() ([2]string, error) {
	if err := readSources(); err != nil {
		return [2]string{}, err
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return [2]string{}, err
	}
	core := filepath.Join(folder, "core.wasm")
	command := exec.Command("go", "build", "-o", core, ".")
	proctest.Bind(command)
	command.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm")
	if out, err := command.CombinedOutput(); err != nil {
		return [2]string{}, fmt.Errorf("%w: %s", err, out)
	}
	return [2]string{filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"), core}, nil
})

// readSources reads the files that the go command and Node use. The go command caches the result of a test until a file
// that the test itself read changes.
func readSources() error {
	for _, pattern := range []string{"*.go", filepath.Join("testdata", "*.mjs")} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, path := range paths {
			if _, err := os.ReadFile(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// node runs a script of testdata with the core and decodes its output.
func node(t *testing.T, script string, stdin []byte, answer any, args ...string) {
	paths, err := build()
	require.NoError(t, err)
	command := proctest.Command(t, "node", append([]string{filepath.Join("testdata", script), paths[0], paths[1]}, args...)...)
	command.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	require.NoError(t, err, stderr.String())
	require.NoError(t, json.Unmarshal(out, answer))
}

// step is one call of an export; see testdata/drive.mjs.
type step struct {
	Call  string `json:"call"`
	Args  []any  `json:"args"`
	Input string `json:"input"`
	Times int    `json:"times,omitempty"`
}

// of refers to the result of an earlier step, such as a handle.
type of struct {
	Step int `json:"step"`
}

type answer struct {
	Result int    `json:"result"`
	Output string `json:"output"`
}

func (a answer) bytes(t *testing.T) []byte {
	b, err := hex.DecodeString(a.Output)
	require.NoError(t, err)
	return b
}

// script is a list of calls that share one core.
type script struct{ steps []step }

// call adds a call and returns its number.
func (s *script) call(input []byte, name string, args ...any) int {
	s.steps = append(s.steps, step{Call: name, Args: append([]any{}, args...), Input: hex.EncodeToString(input)})
	return len(s.steps) - 1
}

// repeat repeats the last call until it fails, at most the given number of times.
func (s *script) repeat(times int) { s.steps[len(s.steps)-1].Times = times }

func (s *script) run(t *testing.T) (answers []answer) {
	stdin, err := json.Marshal(s.steps)
	require.NoError(t, err)
	node(t, "drive.mjs", stdin, &answers)
	require.Len(t, answers, len(s.steps))
	return answers
}

// failure returns the result for an error with the given code.
func failure(t *testing.T, code string) int {
	n := codes.Number(code)
	require.GreaterOrEqual(t, n, 0, code)
	return -n - 1
}
