// Package demo holds the built demo page, so that the binary serves it without a file beside it.
package demo

import (
	"embed"
	"io/fs"
)

// dist is what `make run` builds; only a placeholder is there before.
//
//go:embed all:dist
var dist embed.FS

// Files returns the demo's files, index.html at their top. Where the demo was not built there is no index.html.
func Files() fs.FS {
	files, _ := fs.Sub(dist, "dist") // fails for an invalid path only
	return files
}
