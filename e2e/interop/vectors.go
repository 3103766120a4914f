package main

import (
	"encoding/json"
	"fmt"
	"io/fs"

	"github.com/c2sp/wycheproof"
)

// group is one of Wycheproof's groups. KeySize, IVSize and TagSize are in bits, and only AES-GCM has them.
type group struct {
	KeySize, IVSize, TagSize int
	Tests                    []json.RawMessage
}

// vectors returns the unchanged Wycheproof vectors for the functions and sizes that the format uses.
func vectors() (any, error) {
	files := map[string]struct {
		name string
		fits func(group) bool
	}{
		"gcm":    {"aes_gcm_test.json", func(g group) bool { return g.KeySize == 256 && g.IVSize == 96 && g.TagSize == 128 }},
		"hkdf":   {"hkdf_sha256_test.json", func(group) bool { return true }},
		"pbkdf2": {"pbkdf2_hmacsha256_test.json", func(group) bool { return true }},
	}
	answer := map[string][]json.RawMessage{}
	for primitive, file := range files {
		text, err := fs.ReadFile(wycheproof.TestVectors, file.name)
		if err != nil {
			return nil, err
		}
		var content struct{ TestGroups []group }
		if err := json.Unmarshal(text, &content); err != nil {
			return nil, fmt.Errorf("%s: %w", file.name, err)
		}
		for _, g := range content.TestGroups {
			if file.fits(g) {
				answer[primitive] = append(answer[primitive], g.Tests...)
			}
		}
	}
	return answer, nil
}
