// Package importrules enforces the architecture: rules over the import graph state which package may import which.
package importrules

import (
	"fmt"
	"slices"
	"strings"
)

const module = "github.com/coffer-storage/coffer/"

// graph maps a package to its imports. Paths of this module are relative to its root.
type graph map[string][]string

// shared lists the packages of this module that a package under shared may import. Other modules are forbidden there.
var shared = map[string][]string{
	"shared/classify":        {},
	"shared/codes":           {},
	"shared/wire":            {},
	"shared/format":          {"shared/wire"},
	"shared/format/jsonform": {"shared/format", "shared/classify"},
	"shared/format/vectors":  {"shared/format"},
	"shared/envelope":        {"shared/format", "shared/classify", "shared/codes", "shared/wire"},
	"shared/envelope/backup": {"shared/envelope"},
}

// tools are generators. No other package imports them, so they may import any package outside of server and internal.
var tools = []string{"shared/codes/gen", "shared/format/vectors/gen", "shared/format/vectors/internal/plain", "shared/format/vectors/internal/reader"}

// layers orders the packages of server and internal. A package imports lower layers and packages below its own entry.
var layers = map[string]int{
	"internal/api":       7,
	"internal/lifecycle": 6,
	"internal/rotation":  5,
	"internal/readiness": 5,
	"internal/recovery":  5,
	"server/cache":       4,
	"server/field":       4,
	"server/file":        4,
	"internal/config":    4,
	"internal/session":   4,
	"internal/token":     4,
	"server/audit":       3,
	"server/keyring":     3,
	"server/seal":        3,
	"internal/metrics":   3,
	"internal/mirror":    3,
	"server/keystore":    2,
	"internal/quotakv":   2,
	"server/kv":          1,
	"server/kms":         1,
	"internal/identity":  1,
	"internal/limit":     1,
	"internal/clock":     0,
	"internal/durable":   0,
	"internal/duration":  0,
	"internal/secret":    0,

	"internal/claims":      0,
	"internal/fuzztest":    0,
	"internal/importrules": 0,
	"internal/kmspeers":    2,
	"internal/proctest":    0,
	"internal/redistest":   1,
}

// public lists the packages below server that programs may import. Everything else that the server needs is internal.
var public = []string{
	"server/audit", "server/cache", "server/keyring", "server/seal",
	"server/keystore", "server/keystore/keystoretest", "server/keystore/rediskeys", "server/keystore/sqlitekeys",
	"server/kms", "server/kms/awskms", "server/kms/azurekeyvault", "server/kms/gcpkms", "server/kms/hashivault", "server/kms/kmstest",
	"server/kv", "server/kv/kvtest", "server/kv/rediskv", "server/kv/sqlitekv",
}

// coreForbids lists packages that make the browser's core slow to load, or that it has no use for, with all below them.
var coreForbids = []string{"fmt", "encoding", "errors", "time", "crypto", "net", "os", "io", "bufio", "bytes", "strings", "strconv", "reflect", "sync", "unicode"}

// coreAllows lists exceptions to coreForbids.
var coreAllows = []string{"unicode/utf8", "sync/atomic"}

// checkShared returns the forbidden imports of packages under shared.
func checkShared(g graph) (violations []string) {
	for path, imports := range g {
		if !within(path, "shared") || slices.Contains(tools, path) {
			continue
		}
		allowed, known := shared[path]
		if !known {
			violations = append(violations, path+" has no rule: add one")
		}
		for _, imported := range imports {
			if !isStandard(imported) && !slices.Contains(allowed, imported) {
				violations = append(violations, path+" -> "+imported)
			}
		}
	}
	return violations
}

// checkServer returns the imports within server and internal that do not lead to a lower layer.
func checkServer(g graph) (violations []string) {
	for path, imports := range g {
		if !isBackEnd(path) {
			continue
		}
		from, high, known := layer(path)
		if !known {
			violations = append(violations, path+" has no layer: add one")
			continue
		}
		for _, imported := range imports {
			if !isBackEnd(imported) {
				continue
			}
			if to, low, _ := layer(imported); to != from && low >= high {
				violations = append(violations, fmt.Sprintf("%s (layer %d) -> %s (layer %d)", path, high, imported, low))
			}
		}
	}
	return violations
}

// checkPublic returns the packages below server that are not listed as public.
func checkPublic(g graph) (violations []string) {
	for path := range g {
		if within(path, "server") && !slices.Contains(public, path) {
			violations = append(violations, path+" is not listed as public: move it to internal, or list it")
		}
	}
	return violations
}

func isBackEnd(path string) bool { return within(path, "server") || within(path, "internal") }

// layer returns the longest entry of layers that contains path.
func layer(path string) (entry string, height int, known bool) {
	for entry = path; ; {
		if height, known := layers[entry]; known {
			return entry, height, true
		}
		up := strings.LastIndexByte(entry, '/')
		if up < 0 {
			return entry, 0, false
		}
		entry = entry[:up]
	}
}

// checkApart returns imports that connect the browser's core with the back end, or lead from shared code or a client to either.
func checkApart(g graph) (violations []string) {
	for path, imports := range g {
		for _, imported := range imports {
			if violatesSeparation(path, imported) {
				violations = append(violations, path+" -> "+imported)
			}
		}
	}
	return violations
}

func violatesSeparation(path, imported string) bool {
	switch {
	case within(imported, "wasm"):
		return true
	case within(imported, "server"), within(imported, "cmd"), within(imported, "internal"):
		return within(path, "wasm") || within(path, "shared") || within(path, "client")
	case slices.Contains(tools, imported):
		return !slices.Contains(tools, path)
	case imported == "syscall/js":
		return isOurs(path) && !within(path, "wasm")
	}
	return false
}

// checkCore returns the packages that the browser's core must not depend on, directly or indirectly, and does.
func checkCore(g graph) (violations []string) {
	for path := range g {
		for _, forbidden := range coreForbids {
			if within(path, forbidden) && !slices.Contains(coreAllows, path) {
				violations = append(violations, "wasm is built from "+path)
			}
		}
		if !isStandard(path) && !within(path, "wasm") && !within(path, "shared") {
			violations = append(violations, "wasm is built from "+path)
		}
	}
	return violations
}

// checkSDKs returns the KMS SDKs in the graph of a package. Only the package of a provider may depend on one,
// so that a program links the SDK of the provider that it imports and no other.
func checkSDKs(g graph) (violations []string) {
	for path := range g {
		for _, sdk := range []string{"github.com/hashicorp/vault", "github.com/aws", "github.com/Azure", "cloud.google.com/go"} {
			if within(path, sdk) {
				violations = append(violations, "server/kms is built from "+path)
			}
		}
	}
	return violations
}

func within(path, top string) bool { return path == top || strings.HasPrefix(path, top+"/") }

// isOurs reports whether a path belongs to this module.
func isOurs(path string) bool {
	return slices.ContainsFunc([]string{"shared", "client", "wasm", "server", "cmd", "internal", "bench", "web", "e2e"},
		func(top string) bool { return within(path, top) })
}

// isStandard reports whether a path belongs to the standard library: it has no domain, and is not ours.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && !isOurs(path)
}
