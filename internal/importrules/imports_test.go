package importrules

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
)

var root = filepath.Join("..", "..")

// list returns the import graph of the packages that match the pattern and of their dependencies, for one platform.
func list(t *testing.T, goos, goarch, pattern string) graph {
	command := proctest.Command(t, "go", "list", "-e", "-deps", "-json=ImportPath,Imports", pattern)
	command.Dir, command.Stderr = root, os.Stderr
	command.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	g := graph{}
	for decoder := json.NewDecoder(out); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		if strings.HasPrefix(p.ImportPath, "internal/") {
			continue // internal to the standard library
		}
		for i := range p.Imports {
			p.Imports[i] = strings.TrimPrefix(p.Imports[i], module)
		}
		g[strings.TrimPrefix(p.ImportPath, module)] = p.Imports
	}
	require.NoError(t, command.Wait())
	return g
}

func TestImports(t *testing.T) {
	for _, platform := range [][2]string{{"linux", "amd64"}, {"js", "wasm"}} {
		t.Run(platform[0], func(t *testing.T) {
			g := list(t, platform[0], platform[1], "./...")
			for _, path := range []string{"shared/format", "shared/classify", "shared/codes", "shared/envelope"} {
				require.Contains(t, g, path, "the graph was read")
			}
			assert.Empty(t, checkShared(g))
			assert.Empty(t, checkServer(g))
			assert.Empty(t, checkPublic(g))
			assert.Empty(t, checkApart(g))
		})
	}
}

func TestCoreStaysSmall(t *testing.T) {
	g := list(t, "js", "wasm", "./wasm")
	require.Contains(t, g, "wasm")
	require.Contains(t, g["wasm"], "shared/envelope")
	assert.Empty(t, checkCore(g))
}

func TestKMSLinksNoSDK(t *testing.T) {
	for pattern, linked := range map[string]bool{"./server/kms": false, "./server/keyring": false, "./server/kms/hashivault": true, "./server/kms/awskms": true} {
		t.Run(pattern, func(t *testing.T) {
			g := list(t, runtime.GOOS, runtime.GOARCH, pattern)
			require.Contains(t, g, "server/kms")
			require.Equal(t, linked, len(checkSDKs(g)) > 0, pattern)
		})
	}
}

// Each rule finds a violation, and accepts an allowed import.
func TestRulesFindViolations(t *testing.T) {
	for _, c := range []struct {
		name  string
		check func(graph) []string
		path  string
		to    string
		found bool
	}{
		{"format uses the standard library", checkShared, "shared/format", "unicode/utf8", false},
		{"format uses classify", checkShared, "shared/format", "shared/classify", true},
		{"classify uses format", checkShared, "shared/classify", "shared/format", true},
		{"format uses codes", checkShared, "shared/format", "shared/codes", true},
		{"format uses another module", checkShared, "shared/format", "golang.org/x/text/unicode/norm", true},
		{"jsonform uses format", checkShared, "shared/format/jsonform", "shared/format", false},
		{"jsonform uses envelope", checkShared, "shared/format/jsonform", "shared/envelope", true},
		{"envelope uses codes", checkShared, "shared/envelope", "shared/codes", false},
		{"envelope uses jsonform", checkShared, "shared/envelope", "shared/format/jsonform", true},
		{"envelope uses the server", checkShared, "shared/envelope", "server/seal", true},
		{"a new shared package", checkShared, "shared/more", "errors", true},

		{"api uses cache", checkServer, "internal/api", "server/cache", false},
		{"api skips layers", checkServer, "internal/api", "server/kms", false},
		{"cache uses api", checkServer, "server/cache", "internal/api", true},
		{"cache uses field", checkServer, "server/cache", "server/field", true},
		{"cache uses a store's driver", checkServer, "server/cache", "server/kv/rediskv", false},
		{"a driver uses its interface", checkServer, "server/kv/rediskv", "server/kv", false},
		{"a driver uses the cache", checkServer, "server/kv/rediskv", "server/cache", true},
		{"seal uses keyring", checkServer, "server/seal", "server/keyring", true},
		{"keyring uses seal", checkServer, "server/keyring", "server/seal", true},
		{"keyring uses kms", checkServer, "server/keyring", "server/kms", false},
		{"kms uses keyring", checkServer, "server/kms/awskms", "server/keyring", true},
		{"kms uses the primitives", checkServer, "server/kms", "internal/secret", false},
		{"the primitives use seal", checkServer, "internal/secret", "server/seal", true},
		{"metrics watch kms", checkServer, "internal/metrics", "server/kms", false},
		{"metrics use audit", checkServer, "internal/metrics", "server/audit", true},
		{"audit uses the cache", checkServer, "server/audit", "server/cache", true},
		{"file uses audit", checkServer, "server/file", "server/audit", false},
		{"tokens are identities", checkServer, "internal/token", "internal/identity", false},
		{"a provider's package uses identity", checkServer, "internal/identity/oidc", "internal/identity", false},
		{"identity uses tokens", checkServer, "internal/identity", "internal/token", true},
		{"limit uses tokens", checkServer, "internal/limit", "internal/token", true},
		{"durable uses tokens", checkServer, "internal/durable", "internal/token", true},
		{"a server package without a layer", checkServer, "server/more", "errors", true},
		{"an internal package without a layer", checkServer, "internal/more", "errors", true},
		{"an unlisted public package", checkPublic, "server/more", "errors", true},
		{"a listed public package", checkPublic, "server/kv/kvtest", "errors", false},

		{"a tool uses what it needs", checkShared, "shared/codes/gen", "golang.org/x/text", false},
		{"a tool uses the server", checkApart, "shared/codes/gen", "server/seal", true},
		{"a package is built from a tool", checkApart, "shared/format/vectors", "shared/format/vectors/internal/plain", true},

		{"wasm uses shared", checkApart, "wasm", "shared/envelope", false},
		{"wasm uses the server", checkApart, "wasm", "server/seal", true},
		{"the server uses wasm", checkApart, "internal/api", "wasm", true},
		{"a command uses wasm", checkApart, "cmd/server", "wasm", true},
		{"the client uses shared", checkApart, "client", "shared/codes", false},
		{"the client uses the server", checkApart, "client", "server/cache", true},
		{"a command uses the server", checkApart, "cmd/server", "internal/api", false},
		{"the server uses syscall/js", checkApart, "internal/api", "syscall/js", true},
		{"shared uses syscall/js", checkApart, "shared/format", "syscall/js", true},
		{"wasm uses syscall/js", checkApart, "wasm", "syscall/js", false},

		{"the core is built from envelope", checkCore, "shared/envelope", "", false},
		{"the core is built from unicode/utf8", checkCore, "unicode/utf8", "", false},
		{"the core is built from fmt", checkCore, "fmt", "", true},
		{"the core is built from encoding/json", checkCore, "encoding/json", "", true},
		{"the core is built from encoding/binary", checkCore, "encoding/binary", "", true},
		{"the core is built from time", checkCore, "time", "", true},
		{"the core is built from crypto/sha256", checkCore, "crypto/sha256", "", true},
		{"the core is built from another module", checkCore, "golang.org/x/text", "", true},
		{"the core is built from the server", checkCore, "server/seal", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.found, len(c.check(graph{c.path: {c.to}})) > 0)
		})
	}
}
