package importrules

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
	usesWasm = regexp.MustCompile(`(?m)^//go:(wasmexport|wasmimport|build .*\b(js|wasm)\b)|^\s*(import\s+)?(\w+\s+)?"syscall/js"`)
	coreTag  = regexp.MustCompile(`(?m)^//go:build js && wasm$`)
)

// wasmFault describes the fault of a source file: it belongs to the core and lacks the build tag, or does not and uses
// WebAssembly. It returns "" for a correct file.
func wasmFault(path, source string) string {
	test := strings.HasSuffix(path, "_test.go")
	if within(path, "wasm") {
		if !test && !coreTag.MatchString(source) {
			return "lacks //go:build js && wasm"
		}
		return ""
	}
	if within(path, "bench/browser/hello") {
		return "" // the baseline for the start of the core
	}
	name := strings.TrimSuffix(path, ".go")
	if strings.HasSuffix(name, "_js") || strings.HasSuffix(name, "_wasm") || usesWasm.MatchString(source) {
		return "uses WebAssembly; only wasm/ may"
	}
	return ""
}

func TestOnlyTheCoreUsesWebAssembly(t *testing.T) {
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
	require.Greater(t, checked, 20, "no sources were found")
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
		{"internal/api/api.go", "package api\n", false},
		{"internal/api/api.go", "package api\n\n//go:wasmexport f\nfunc f() {}\n", true},
		{"internal/api/api.go", "package api\n\n//go:wasmimport a b\nfunc f()\n", true},
		{"internal/api/api.go", "//go:build !js\n\npackage api\n", true},
		{"internal/api/api.go", "//go:build linux\n\npackage api\n", false},
		{"internal/api/api.go", "package api\n\nimport \"syscall/js\"\n", true},
		{"internal/api/api.go", "package api\n\nimport (\n\t\"fmt\"\n\tweb \"syscall/js\"\n)\n", true},
		{"internal/api/api_js.go", "package api\n", true},
		{"shared/format/x_wasm.go", "package format\n", true},
	} {
		t.Run(c.path, func(t *testing.T) {
			require.Equal(t, c.fault, wasmFault(c.path, c.source) != "", "%s: %q", c.path, c.source)
		})
	}
}
