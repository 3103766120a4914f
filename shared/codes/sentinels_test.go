package codes_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/codes"
)

// An error states its code as codes.Error, or as an Error of its own package with a method Code, for packages
// that may not import this one. Either is a literal with the code in it, so the sources say which codes there
// are.
func TestEverySentinelsCodeIsInTheTable(t *testing.T) {
	found := map[string]int{}
	for dir, files := range packages(t, filepath.Join("..", "..")) {
		own := declaresCode(files)
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				literal, ok := n.(*ast.CompositeLit)
				if !ok || !isCoded(literal.Type, own) || len(literal.Elts) == 0 {
					return true
				}
				code, ok := codeOf(literal)
				require.True(t, ok, "%s: a code that is no literal", dir)
				assert.GreaterOrEqual(t, codes.Number(code), 0, "%s: %q is not in the table", dir, code)
				if inCore[filepath.Base(dir)] {
					assert.Contains(t, codes.Core, code, "%s: %q is in the core, whose shell has no name for it", dir, code)
				}
				found[file.Name.Name]++
				return true
			})
		}
	}
	for name, least := range map[string]int{"format": 4, "classify": 3, "envelope": 9} {
		require.GreaterOrEqual(t, found[name], least, "sentinels of package %s", name)
	}
}

// inCore are the folders whose code is compiled into the browser's core.
var inCore = map[string]bool{"format": true, "classify": true, "envelope": true, "wasm": true}

// isCoded tells codes.Error anywhere, and Error where the package declares its own.
func isCoded(expr ast.Expr, own bool) bool {
	switch e := expr.(type) {
	case *ast.SelectorExpr:
		x, ok := e.X.(*ast.Ident)
		return ok && x.Name == "codes" && e.Sel.Name == "Error"
	case *ast.Ident:
		return e.Name == "Error" && own
	}
	return false
}

// declaresCode reports whether a package has a method Code of its own type Error.
func declaresCode(files []*ast.File) bool {
	for _, file := range files {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if ok && f.Recv != nil && f.Name.Name == "Code" && types.ExprString(f.Recv.List[0].Type) == "*Error" {
				return file.Name.Name != "codes"
			}
		}
	}
	return false
}

// codeOf returns the literal's code: its first element, or the one of key Of.
func codeOf(literal *ast.CompositeLit) (string, bool) {
	value := literal.Elts[0]
	for _, element := range literal.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "Of" {
				value = pair.Value
			}
		}
	}
	basic, ok := value.(*ast.BasicLit)
	if !ok || basic.Kind != token.STRING {
		return "", false
	}
	code, err := strconv.Unquote(basic.Value)
	return code, err == nil
}

// packages parses the sources of what is built, by folder, without the tests.
func packages(t *testing.T, root string) map[string][]*ast.File {
	found := map[string][]*ast.File{}
	for _, top := range []string{"shared", "server", "wasm", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			found[filepath.Dir(path)] = append(found[filepath.Dir(path)], file)
			return err
		})
		if !os.IsNotExist(err) {
			require.NoError(t, err)
		}
	}
	return found
}
