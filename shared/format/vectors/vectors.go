// Package vectors contains the test vectors of the package format and of keyset documents, as JSON files for
// implementations in any language and as Go values. SPEC.md section 12 describes the files.
//
// The vectors of a version do not change: every later version must open its packages. Their keys and passphrases are
// public and must not protect anything.
package vectors

import (
	"embed"
	"encoding/json"
)

//go:generate go run ./gen .

//go:embed *.json
var files embed.FS

// LoadPackages returns the valid packages of packages.json and special.json.
func LoadPackages() []Package {
	grid := read[[]Package]("packages.json")
	return append(grid, read[[]Package]("special.json")...)
}

// LoadVariants returns texts in JSON form that differ from the text of a writer but represent the same package.
func LoadVariants() []Variant { return read[[]Variant]("variants.json") }

// LoadInvalid returns packages and texts that a reader must refuse.
func LoadInvalid() Refusals { return read[Refusals]("invalid.json") }

// LoadRules returns vectors of rules that packages alone do not test.
func LoadRules() RuleVectors { return read[RuleVectors]("rules.json") }

// LoadDocuments returns valid and invalid keyset documents and slots.
func LoadDocuments() DocumentVectors { return read[DocumentVectors]("documents.json") }

// LoadMerges returns pairs of documents and the results of merging them.
func LoadMerges() []Merge { return read[[]Merge]("merges.json") }

// LoadBackups returns valid and invalid backup files.
func LoadBackups() BackupVectors { return read[BackupVectors]("backups.json") }

// File returns the contents of a JSON file of this package. It returns an error if no file has that name.
func File(name string) ([]byte, error) { return files.ReadFile(name) }

// read decodes an embedded file. It panics if that fails, because the files are compiled in and a test reads all of them.
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
