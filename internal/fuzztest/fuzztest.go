// Package fuzztest checks two properties of every fuzz target of the project: it has seeds, and parsing allocates memory in
// proportion to the input.
package fuzztest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// RequireSeeds fails the test if a fuzz target of the package under test has no seed in testdata/fuzz/<Name>/ or does not
// call f.Add. Without seeds, `go test` would pass without calling the target.
func RequireSeeds(t *testing.T) {
	t.Helper()
	targets := fuzzTargets(t)
	if len(targets) == 0 {
		t.Fatal("no fuzz target found")
	}
	for name, adds := range targets {
		if !adds {
			t.Errorf("%s does not call f.Add", name)
		}
		files, _ := os.ReadDir(filepath.Join("testdata", "fuzz", name))
		if len(files) == 0 {
			t.Errorf("%s has no seed in testdata/fuzz/%s", name, name)
		}
	}
}

// fuzzTargets returns the fuzz functions of the working directory's test files, and whether each calls Add.
func fuzzTargets(t *testing.T) map[string]bool {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") {
				targets[f.Name.Name] = callsAdd(f)
			}
		}
	}
	return targets
}

// callsAdd reports whether a function calls a method Add.
func callsAdd(f *ast.FuncDecl) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.SelectorExpr); ok && call.Sel.Name == "Add" {
			found = true
		}
		return true
	})
	return found
}

// Bounded fails the test if f allocates more than limit bytes. It calls f up to five times and uses the smallest
// measurement, because other goroutines allocate too.
func Bounded(t *testing.T, limit int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	lowest := ^uint64(0)
	for run := 0; run < 5 && lowest > uint64(limit); run++ {
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		lowest = min(lowest, after.TotalAlloc-before.TotalAlloc)
	}
	if lowest > uint64(limit) {
		t.Fatalf("allocated %d bytes, the bound is %d", lowest, limit)
	}
}
