// Package fuzztest holds what every fuzz target of the project promises besides its own property: it begins
// with seeds, and what it parses allocates no more than the input allows.
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

// RequireSeeds fails where a fuzz target of the package under test has no seed under testdata/fuzz/<Name>/ or
// no f.Add: without either, `go test` would pass without ever calling it.
func RequireSeeds(t *testing.T) {
	t.Helper()
	targets := fuzzTargets(t)
	if len(targets) == 0 {
		t.Fatal("no fuzz target found")
	}
	for name, adds := range targets {
		if !adds {
			t.Errorf("%s adds no seed by f.Add", name)
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

func callsAdd(f *ast.FuncDecl) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.SelectorExpr); ok && call.Sel.Name == "Add" {
			found = true
		}
		return true
	})
	return found
}

// Bounded fails where f allocates more than limit bytes. Other goroutines allocate too, so only the least of
// several runs counts.
func Bounded(t *testing.T, limit int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	least := ^uint64(0)
	for run := 0; run < 5 && least > uint64(limit); run++ {
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least > uint64(limit) {
		t.Fatalf("allocated %d bytes, the bound is %d", least, limit)
	}
}
