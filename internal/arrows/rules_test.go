// Package arrows holds who may import whom, as rules over the graph of imports: the project's architecture,
// kept by a test.
package arrows

import (
	"fmt"
	"slices"
	"strings"
)

const module = "github.com/coffer-storage/coffer/"

// graph is what each package imports. Paths inside the module are relative to it.
type graph map[string][]string

// shared says what each package under shared may import of this module. It may import nothing of another module.
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

// tools write what is generated. Nothing is built from them, so they may use what they need below the server.
var tools = []string{"shared/codes/gen", "shared/format/vectors/gen", "shared/format/vectors/internal/plain", "shared/format/vectors/internal/reader"}

// layers says how high each concern of the server stands: its packages import lower ones, and those of their
// own concern.
var layers = map[string]int{
	"api":         7,
	"lifecycle":   6,
	"rotation":    5,
	"readiness":   5,
	"recovery":    5,
	"cache":       4,
	"field":       4,
	"file":        4,
	"session":     4,
	"syncing":     4,
	"config":      4,
	"keyring":     3,
	"metrics":     3,
	"token":       4,
	"tlsconf":     3,
	"seal":        3,
	"keystore":    2,
	"audit":       3,
	"kv":          1,
	"kms":         1,
	"identity":    1,
	"limit":       1,
	"clock":       0, // clocks that are set back or forward
	"durable":     0, // files replaced as a whole
	"duration":    0,
	"seal/secret": 0, // the primitives, below all that use keys
	"internal":    0, // helpers of tests
}

// coreForbids is what would make the browser's core slow to load, or is not its business.
var coreForbids = []string{"fmt", "encoding", "errors", "time", "crypto", "net", "os", "io", "bufio", "bytes", "strings", "strconv", "reflect", "sync", "unicode"}

// coreAllows is what coreForbids would forbid with the package that it lies in.
var coreAllows = []string{"unicode/utf8", "sync/atomic"}

// checkShared returns what packages under shared import and may not.
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

// checkServer returns the imports within the server that do not run downwards.
func checkServer(g graph) (violations []string) {
	for path, imports := range g {
		if !strings.HasPrefix(path, "server/") {
			continue
		}
		from, high, known := concern(path)
		if !known {
			violations = append(violations, path+" has no layer: add one")
			continue
		}
		for _, imported := range imports {
			if !strings.HasPrefix(imported, "server/") {
				continue
			}
			if to, low, _ := concern(imported); to != from && low >= high {
				violations = append(violations, fmt.Sprintf("%s (layer %d) -> %s (layer %d)", path, high, imported, low))
			}
		}
	}
	return violations
}

// concern returns the longest entry of layers that path lies in.
func concern(path string) (name string, layer int, known bool) {
	for name := strings.TrimPrefix(path, "server/"); ; {
		if layer, known := layers[name]; known {
			return name, layer, true
		}
		up := strings.LastIndexByte(name, '/')
		if up < 0 {
			return name, 0, false
		}
		name = name[:up]
	}
}

// checkApart returns imports between the browser's core and the back end, and of either by what both are made of.
func checkApart(g graph) (violations []string) {
	for path, imports := range g {
		for _, imported := range imports {
			wasmImported, backEnd := within(imported, "wasm"), within(imported, "server") || within(imported, "cmd")
			if wasmImported || backEnd && (within(path, "wasm") || within(path, "shared") || within(path, "client")) ||
				within(imported, "server") && within(path, "internal") {
				violations = append(violations, path+" -> "+imported)
			}
			if slices.Contains(tools, imported) && !slices.Contains(tools, path) {
				violations = append(violations, path+" -> "+imported)
			}
			if imported == "syscall/js" && isOurs(path) && !within(path, "wasm") {
				violations = append(violations, path+" -> "+imported)
			}
		}
	}
	return violations
}

// checkCore returns what the browser's core is built from, of whatever depth, and must not be.
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

// checkSDKs returns what package kms is built from that is a KMS's: its SDKs are for the providers, which a
// program names.
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

// isOurs reports whether a path is one of this module, made relative.
func isOurs(path string) bool {
	return slices.ContainsFunc([]string{"shared", "client", "wasm", "server", "cmd", "internal", "bench", "web", "e2e"},
		func(top string) bool { return within(path, top) })
}

// isStandard reports whether a path is the standard library's: no domain in front, and not one of ours.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && !isOurs(path)
}
