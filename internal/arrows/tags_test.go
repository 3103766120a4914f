package arrows

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	knowsWasm = regexp.MustCompile(`(?m)^//go:(wasmexport|wasmimport|build .*\b(js|wasm)\b)|^\s*(import\s+)?(\w+\s+)?"syscall/js"`)
	coreTag   = regexp.MustCompile(`(?m)^//go:build js && wasm$`)
)

// wasmFault returns what is wrong with a source file: one of the core without its build tag, or another that
// knows WebAssembly.
func wasmFault(path, source string) string {
	test := strings.HasSuffix(path, "_test.go")
	if within(path, "wasm") {
		if !test && !coreTag.MatchString(source) {
			return "lacks //go:build js && wasm"
		}
		return ""
	}
	if within(path, "bench/browser/hello") {
		return "" // what the core's start is measured against
	}
	name := strings.TrimSuffix(path, ".go")
	if strings.HasSuffix(name, "_js") || strings.HasSuffix(name, "_wasm") || knowsWasm.MatchString(source) {
		return "knows WebAssembly; only wasm/ may"
	}
	return ""
}

func TestOnlyTheCoreKnowsWebAssembly(t *testing.T) {
	checked := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || len(entry.Name()) > 2 && entry.Name()[0] == '.') {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		source, err := os.ReadFile(path)
		require.NoError(t, err)
		relative, err := filepath.Rel(root, path)
		require.NoError(t, err)
		require.Empty(t, wasmFault(filepath.ToSlash(relative), string(source)), relative)
		checked++
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, checked, 20, "the sources are found")
}

func TestWasmFaultsAreFound(t *testing.T) {
	core := "//go:build js && wasm\n\npackage main\n"
	for _, c := range []struct {
		path, source string
		fault        bool
	}{
		{"wasm/main.go", core, false},
		{"wasm/main.go", "package main\n", true},
		{"wasm/main.go", "//go:build js\n\npackage main\n", true},
		{"wasm/core_test.go", "package main\n", false},
		{"server/api/api.go", "package api\n", false},
		{"server/api/api.go", "package api\n\n//go:wasmexport f\nfunc f() {}\n", true},
		{"server/api/api.go", "package api\n\n//go:wasmimport a b\nfunc f()\n", true},
		{"server/api/api.go", "//go:build !js\n\npackage api\n", true},
		{"server/api/api.go", "//go:build linux\n\npackage api\n", false},
		{"server/api/api.go", "package api\n\nimport \"syscall/js\"\n", true},
		{"server/api/api.go", "package api\n\nimport (\n\t\"fmt\"\n\tweb \"syscall/js\"\n)\n", true},
		{"server/api/api_js.go", "package api\n", true},
		{"shared/format/x_wasm.go", "package format\n", true},
	} {
		t.Run(c.path, func(t *testing.T) {
			require.Equal(t, c.fault, wasmFault(c.path, c.source) != "", "%s: %q", c.path, c.source)
		})
	}
}
