// Package demo embeds the built demo page in the binary.
package demo

import (
	"embed"
	"io/fs"
)

// dist is filled by `make run`. Before that it contains only a placeholder.
//
//go:embed all:dist
var dist embed.FS

// Files returns the files of the demo with index.html at the root. index.html is missing if the demo was not built.
func Files() fs.FS {
	files, _ := fs.Sub(dist, "dist") // fails only for an invalid path
	return files
}
