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

// Every sentinel error is a composite literal of codes.Error, or of a type of its own package that has a method Code. The
// code is a string literal in it, so this test finds the codes in the sources.
func TestCodeOfEverySentinelIsInTable(t *testing.T) {
	found := map[string]int{}
	for dir, files := range packages(t, filepath.Join("..", "..")) {
		own := typesWithCode(files)
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				literal, ok := n.(*ast.CompositeLit)
				if !ok || !isCoded(literal.Type, own) || len(literal.Elts) == 0 {
					return true
				}
				code, ok := codeOf(literal)
				if _, imported := literal.Type.(*ast.SelectorExpr); !ok {
					require.False(t, imported, "%s: a code that is not a string literal", dir)
					return true
				}
				assert.GreaterOrEqual(t, codes.Number(code), 0, "%s: %q is not in the table", dir, code)
				if compiledIntoCore[filepath.Base(dir)] {
					assert.Contains(t, codes.Core, code, "%s: the browser's core can return %q, which codes.Core lacks", dir, code)
				}
				found[file.Name.Name]++
				return true
			})
		}
	}
	for name, minimum := range map[string]int{"format": 4, "classify": 3, "envelope": 9} {
		require.GreaterOrEqual(t, found[name], minimum, "sentinels of package %s", name)
	}
}

// compiledIntoCore are the folders whose code is compiled into the browser's core.
var compiledIntoCore = map[string]bool{"format": true, "classify": true, "envelope": true, "wasm": true}

// isCoded reports whether the type of a composite literal is codes.Error, or one of the package's own types.
func isCoded(expr ast.Expr, own map[string]bool) bool {
	switch e := expr.(type) {
	case *ast.SelectorExpr:
		x, ok := e.X.(*ast.Ident)
		return ok && x.Name == "codes" && e.Sel.Name == "Error"
	case *ast.Ident:
		return own[e.Name]
	}
	return false
}

// typesWithCode returns the names of a package's types whose method Code returns the field code.
func typesWithCode(files []*ast.File) map[string]bool {
	names := map[string]bool{}
	for _, file := range files {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "Code" || file.Name.Name == "codes" {
				continue
			}
			result, ok := f.Body.List[0].(*ast.ReturnStmt)
			if ok && strings.HasSuffix(types.ExprString(result.Results[0]), ".code") {
				names[strings.TrimPrefix(types.ExprString(f.Recv.List[0].Type), "*")] = true
			}
		}
	}
	return names
}

// codeOf returns the code in a literal: the element with key ErrorCode or code, or the first element of a literal without keys.
func codeOf(literal *ast.CompositeLit) (string, bool) {
	value := literal.Elts[0]
	for _, element := range literal.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			value = nil
			if key, ok := pair.Key.(*ast.Ident); ok && (key.Name == "ErrorCode" || key.Name == "code") {
				value = pair.Value
				break
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

// packages parses the Go files below root that are not tests, by folder.
func packages(t *testing.T, root string) map[string][]*ast.File {
	found := map[string][]*ast.File{}
	for _, top := range []string{"shared", "server", "internal", "wasm", "cmd"} {
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
