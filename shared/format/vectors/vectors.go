// Package vectors is the format's test vectors: data for every implementation of SPEC.md, in any language,
// and typed access to it for Go. The files beside it are the data; SPEC.md section 12 describes them.
//
// The vectors are fixed for ever: what version 1 wrote must open in every later version. Their keys and
// passphrases are public, so nothing real may be sealed under them.
package vectors

import (
	"embed"
	"encoding/json"
)

//go:generate go run ./gen .

//go:embed *.json
var files embed.FS

// Packages returns the valid packages, of all files.
func LoadPackages() []Package {
	grid := read[[]Package]("packages.json")
	return append(grid, read[[]Package]("special.json")...)
}

// Variants returns texts in JSON form that read as the same package as the one that a writer makes of it.
func LoadVariants() []Variant { return read[[]Variant]("variants.json") }

// Invalid returns what must be refused.
func LoadInvalid() Refusals { return read[Refusals]("invalid.json") }

// OfRules returns the vectors of the rules that no package shows.
func LoadRules() RuleVectors { return read[RuleVectors]("rules.json") }

// Documents returns the keyset documents and slots, valid and invalid.
func LoadDocuments() DocumentVectors { return read[DocumentVectors]("documents.json") }

// Merges returns the pairs of documents that are merged.
func LoadMerges() []Merge { return read[[]Merge]("merges.json") }

// OfBackups returns the backup files, valid and invalid.
func LoadBackups() BackupVectors { return read[BackupVectors]("backups.json") }

// File returns a file's bytes as they are in the repository.
func File(name string) ([]byte, error) { return files.ReadFile(name) }

// read panics for a file that is not as it was generated: the data is compiled in, and a test reads all of it.
func read[T any](name string) (v T) {
	text, err := files.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		panic(err)
	}
	return v
}
