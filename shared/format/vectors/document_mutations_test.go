package vectors_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/reader"
)

// documentProbe runs a vector against a reader of documents. run returns an error if the reader disagrees with the vector.
type documentProbe struct {
	name string
	run  func(r *reader.DocumentReader) error
}

// For every rule, a vector detects a reader of documents that breaks it. A reader that follows all rules passes every vector.
func TestVectorsDetectEveryBrokenDocumentRule(t *testing.T) {
	all, asked := documentProbes(), map[string]bool{}
	for _, p := range all {
		require.NoError(t, p.run(&reader.DocumentReader{Asked: asked}), p.name)
	}
	require.Greater(t, len(asked), 150)
	for _, rule := range slices.Sorted(maps.Keys(asked)) {
		t.Run(rule, func(t *testing.T) {
			require.True(t, slices.ContainsFunc(all, func(p documentProbe) bool { return attemptDocument(p, rule) != nil }), "no vector detects it")
		})
	}
}

// attemptDocument runs a probe against a reader that breaks a rule, which may make it panic.
func attemptDocument(p documentProbe, rule string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return p.run(&reader.DocumentReader{Broken: rule})
}

func documentProbes() (list []documentProbe) {
	add := func(name string, run func(r *reader.DocumentReader) error) {
		list = append(list, documentProbe{name, run})
	}
	var last []documentProbe // large documents, which are slow
	all := vectors.LoadDocuments()
	for _, v := range all.Limits {
		b := v.Bytes.Bytes()
		last = append(last, documentProbe{"limit: " + v.Name, func(r *reader.DocumentReader) error {
			d, code := r.ParseDocument(b)
			if code == "" && !bytes.Equal(d.Bytes(), b) {
				return fmt.Errorf("another encoding")
			}
			return outcome{code}.want("")
		}})
	}
	for _, v := range all.Budgets {
		add("budget: "+v.Name, func(r *reader.DocumentReader) error { return outcome{r.Budget(v.Iterations)}.want(v.Code) })
	}
	for _, v := range all.Invalid {
		b := v.Bytes.Bytes()
		if len(b) > long {
			last = append(last, documentProbe{"no document: " + v.Name, func(r *reader.DocumentReader) error {
				_, code := r.ParseDocument(b)
				return outcome{code}.want(v.Code)
			}})
			continue
		}
		add("no document: "+v.Name, func(r *reader.DocumentReader) error {
			_, code := r.ParseDocument(b)
			return outcome{code}.want(v.Code)
		})
	}
	for _, v := range all.BadSlots {
		add("no slot: "+v.Name, func(r *reader.DocumentReader) error { return outcome{r.ParseSlot(v.Bytes.Bytes())}.want(v.Code) })
	}
	for _, v := range all.Slots {
		add("slot: "+v.Name, func(r *reader.DocumentReader) error { return outcome{r.ParseSlot(v.Bytes)}.want("") })
	}
	for _, v := range vectors.LoadMerges() {
		p := documentProbe{"merge: " + v.Name, probeMerge(v)}
		if v.A.Runs != nil {
			last = append(last, p)
		} else {
			list = append(list, p)
		}
	}
	for _, v := range all.Unlocks {
		add("unlock: "+v.Name, func(r *reader.DocumentReader) error {
			d, code := r.ParseDocument(v.Bytes)
			if code == "" {
				_, code = r.Unlock(d, []reader.Secret{{Kind: v.Secret.Kind, Text: v.Secret.Text}}, v.Environment, v.ShredKey)
			}
			return outcome{code}.want(v.Code)
		})
	}
	for _, v := range all.Documents {
		add("document: "+v.Name, func(r *reader.DocumentReader) error { return probeDocument(r, v) })
	}
	return slices.Concat(list, backupProbes(), last)
}

func backupProbes() (list []documentProbe) {
	all := vectors.LoadBackups()
	for _, v := range all.Invalid {
		b := v.Bytes.Bytes()
		list = append(list, documentProbe{"no backup: " + v.Name, func(r *reader.DocumentReader) error {
			_, code := r.ParseBackup(b)
			return outcome{code}.want(v.Code)
		}})
	}
	for _, v := range all.Refusals {
		list = append(list, documentProbe{"backup refused: " + v.Name, func(r *reader.DocumentReader) error {
			k, code := r.ParseBackup(v.Bytes)
			if code == "" {
				_, code = r.OpenBackup(k, v.KEK.Text, v.Environment)
			}
			return outcome{code}.want(v.Code)
		}})
	}
	for _, v := range all.Backups {
		list = append(list, documentProbe{"backup: " + v.Name, func(r *reader.DocumentReader) error {
			k, code := r.ParseBackup(v.Bytes)
			for i := 0; code == "" && i < len(v.KEKs); i++ {
				var key []byte
				if key, code = r.OpenBackup(k, v.KEKs[i].Text, v.Environment); code == "" && !bytes.Equal(key, v.Key) {
					return fmt.Errorf("another key")
				}
			}
			return outcome{code}.want("")
		}})
	}
	return list
}

func probeMerge(v vectors.Merge) func(r *reader.DocumentReader) error {
	first, second := v.A.Bytes(), v.B.Bytes()
	return func(r *reader.DocumentReader) error {
		a, code := r.ParseDocument(first)
		if code != "" {
			return outcome{code}.want("")
		}
		b, code := r.ParseDocument(second)
		if code != "" {
			return outcome{code}.want("")
		}
		for _, pair := range [][2]*reader.Document{{a, b}, {b, a}} {
			merged, code := r.Merge(pair[0], pair[1])
			if err := (outcome{code}).want(v.Code); err != nil {
				return err
			}
			if v.Code == "" && !v.Merged.Equal(merged) {
				return fmt.Errorf("another document")
			}
		}
		return nil
	}
}

// probeDocument opens a document with all its secrets.
func probeDocument(r *reader.DocumentReader, v vectors.Document) error {
	d, code := r.ParseDocument(v.Bytes)
	if code != "" {
		return outcome{code}.want("")
	}
	var secrets []reader.Secret
	roots := map[string]string{}
	for _, s := range v.Slots {
		if s.Root == nil {
			continue
		}
		roots[string(binary.BigEndian.AppendUint32(bytes.Clone(s.Line), s.Generation))+string(s.RootID)] = string(s.Root)
		if s.Secret != nil {
			secrets = append(secrets, reader.Secret{Kind: s.Secret.Kind, Text: s.Secret.Text})
		} else {
			secrets = append(secrets, reader.Secret{Slot: s.Kind, Key: s.Key})
		}
	}
	u, code := r.Unlock(d, secrets, v.Environment, v.ShredKey)
	if code != "" {
		return outcome{code}.want("")
	}
	if !maps.Equal(u.Roots, roots) {
		return fmt.Errorf("other roots")
	}
	for _, s := range v.Keysets {
		if err := compareKeyset(r, d, u, s); err != nil {
			return err
		}
	}
	return nil
}

func compareKeyset(r *reader.DocumentReader, d *reader.Document, u *reader.Unlocked, s vectors.Keyset) error {
	place := string([]byte{s.Use, s.Class})
	for _, k := range s.Keys {
		got := u.Keys[place+string(k.ID)]
		if !bytes.Equal(got.Bytes, k.Key) || got.State != 0 && got.State != k.State {
			return fmt.Errorf("another key")
		}
	}
	if p := u.Primaries[place]; p.Epoch != s.Epoch || p.KeyID != string(s.Primary) {
		return fmt.Errorf("another primary")
	}
	if _, code := r.Seals(d, u, s.Use, s.Class); (code == "") != s.Seals {
		return fmt.Errorf("seals: %q", code)
	}
	return nil
}
