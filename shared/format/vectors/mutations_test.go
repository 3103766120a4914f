package vectors_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/reader"
)

// probe runs a vector against a reader. run returns an error if the reader disagrees with the vector.
type probe struct {
	name string
	run  func(r *reader.Reader) error
}

// A reader that follows every rule passes every vector, and the vectors together evaluate every rule.
func TestReaderPassesEveryVector(t *testing.T) {
	r := &reader.Reader{Asked: map[reader.Rule]bool{}}
	for _, p := range probes(t) {
		require.NoError(t, p.run(r), p.name)
	}
	for rule := range reader.Broken {
		require.True(t, rule == 0 || r.Asked[reader.Rule(rule)], "no vector evaluates the rule %q", reader.Broken[rule])
	}
}

// For every rule, a vector detects a reader that breaks it. So the vectors alone test each rule of SPEC.md.
func TestVectorsDetectEveryBrokenRule(t *testing.T) {
	all := probes(t)
	for rule := range reader.Broken[1:] {
		rule := reader.Rule(rule + 1)
		t.Run(rule.String(), func(t *testing.T) {
			r := &reader.Reader{Broken: rule}
			for _, p := range all {
				if err := attempt(p, r); err != nil {
					t.Logf("%s: %v", p.name, err)
					return
				}
			}
			t.Error("no vector detects it")
		})
	}
}

// attempt runs a probe against a reader that breaks a rule, which may make it panic.
func attempt(p probe, r *reader.Reader) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return p.run(r)
}

// probes returns the probes of all vectors of packages. Those with large values are last.
func probes(t *testing.T) []probe {
	if allProbes == nil {
		allProbes = makeProbes(t)
	}
	return allProbes
}

var allProbes []probe

func makeProbes(t *testing.T) (list []probe) {
	readers := readerKeys()
	invalid, packages := vectors.LoadInvalid(), map[string][]byte{}
	var last []probe
	for _, v := range vectors.LoadPackages() {
		p := sealed(t, v)
		b, err := p.Append(nil)
		require.NoError(t, err)
		packages[v.Name] = b
		of := probe{"package: " + v.Name, func(r *reader.Reader) error { return probePackage(r, v, b, readers) }}
		if len(b) > long {
			last = append(last, of)
		} else {
			list = append(list, of, probe{"JSON form: " + v.Name, func(r *reader.Reader) error { return probeForm(r, v, b) }})
		}
	}
	for _, v := range invalid.Binary {
		b := v.Bytes.Bytes()
		of := probe{"no package: " + v.Name, func(r *reader.Reader) error { return codeOf(r.Parse(b)).want(v.Code) }}
		if list = append(list, of); len(b) > long {
			list, last = list[:len(list)-1], append(last, of)
		}
	}
	for _, v := range append(invalid.Open, invalid.Decode...) {
		b := v.Bytes(packages)
		of := probe{"refused: " + v.Name, func(r *reader.Reader) error { return probeRefusal(r, v, b, readers) }}
		if list = append(list, of); len(b) > long {
			list, last = list[:len(list)-1], append(last, of)
		}
	}
	list = append(list, textProbes(invalid.JSON)...)
	list = append(list, ruleProbes(vectors.LoadRules())...)
	return append(list, last...)
}

// outcome is the result of a call.
type outcome struct{ code reader.Code }

func codeOf(_ reader.Header, _ []byte, code reader.Code) outcome { return outcome{code} }

func (o outcome) want(code string) error {
	if string(o.code) != code {
		return fmt.Errorf("got the code %q, want %q", o.code, code)
	}
	return nil
}

// documentOf contains the keys of an opened document.
type documentOf struct {
	keys     map[string]reader.Key
	shredded bool
}

func shredded(d vectors.Document) bool {
	return len(d.Shreds) > 0 && len(d.Slots) == 0 && len(d.Keysets) == 0
}

// readerKeys returns the opened documents by name.
func readerKeys() map[string]documentOf {
	documents := map[string]documentOf{}
	for _, d := range vectors.LoadDocuments().Documents {
		documents[d.Name] = documentOf{keys: map[string]reader.Key{}, shredded: shredded(d)}
		for _, s := range d.Keysets {
			for _, k := range s.Keys {
				if k.Key == nil && envelope.State(k.State) != envelope.Destroyed {
					continue // its root stays closed
				}
				documents[d.Name].keys[string(k.ID)] = reader.Key{Bytes: k.Key, Use: s.Use, Class: s.Class, State: stateOf(k)}
			}
		}
	}
	return documents
}

// stateOf is the state of a key in an opened document: one that nothing opens any more is destroyed.
func stateOf(k vectors.Key) byte {
	if k.Key == nil {
		return reader.Destroyed
	}
	return map[envelope.State]byte{
		envelope.Enabled: reader.Enabled, envelope.Compromised: reader.Compromised, envelope.Disabled: reader.Disabled,
		envelope.Destroyed: reader.Destroyed,
	}[envelope.State(k.State)]
}

func want(document string, s *vectors.Secret, p vectors.Place, readers map[string]documentOf) *reader.OpenRequest {
	w := &reader.OpenRequest{Owner: p.Owner, Collection: p.Collection, Named: p.Name != nil}
	if p.Name != nil {
		w.Name = *p.Name
	}
	if s != nil {
		w.Kind, w.Text = s.Kind, s.Text
	} else {
		w.Keys, w.Shredded = readers[document].keys, readers[document].shredded
	}
	return w
}

func probePackage(r *reader.Reader, v vectors.Package, b []byte, readers map[string]documentOf) error {
	w := want(v.Document, v.Secret, v.Place, readers)
	w.Use, w.Least = v.Header.Use, v.Header.Class
	o, code := r.Open(b, w)
	if code != "" {
		return outcome{code}.want("")
	}
	d := vectors.Details{}
	if v.Details != nil {
		d = *v.Details
	}
	context := map[string]string{}
	for _, e := range o.Context {
		context[e[0]] = e[1]
	}
	got := []any{o.Name, o.MediaType, o.FileName, o.LastModified, o.Element, len(context)}
	if expected := []any{d.Name, d.MediaType, d.FileName, d.LastModified, d.Element, len(d.Context)}; fmt.Sprint(got) != fmt.Sprint(expected) {
		return fmt.Errorf("got the details %v, want %v", got, expected)
	}
	for k, s := range d.Context {
		if context[k] != s {
			return fmt.Errorf("another context")
		}
	}
	if !v.Value.Equal(o.Value) {
		return fmt.Errorf("another value")
	}
	if v.Header.Type == 1 || v.Header.Type == 4 {
		if text, code := r.Decode(v.Header.Type, o.Value); code != "" || !v.Value.Equal([]byte(text)) {
			return fmt.Errorf("another text: %s", code)
		}
	}
	return nil
}

func probeForm(r *reader.Reader, v vectors.Package, b []byte) error {
	if v.Package.SHA256 != nil {
		return nil // its text is not in the file
	}
	got, code := r.ParseJSON(v.JSON)
	if code != "" || !bytes.Equal(got, b) {
		return fmt.Errorf("another package: %s", code)
	}
	return nil
}

func probeRefusal(r *reader.Reader, v vectors.Refusal, b []byte, readers map[string]documentOf) error {
	w := want(v.Document, v.Secret, v.Place, readers)
	w.Use, w.Least = v.Use, v.Least
	o, code := r.Open(b, w)
	if code == "" && (b[9] == 1 || b[9] == 4) {
		_, code = r.Decode(b[9], o.Value)
	}
	return outcome{code}.want(v.Code)
}

func textProbes(invalid []vectors.MalformedText) (list []probe) {
	for _, v := range vectors.LoadVariants() {
		list = append(list, probe{"variant: " + v.Name, func(r *reader.Reader) error {
			got, code := r.ParseJSON([]byte(v.Text))
			if code != "" || !bytes.Equal(got, v.Package) {
				return fmt.Errorf("another package: %s", code)
			}
			return nil
		}})
	}
	for _, v := range invalid {
		text := []byte(v.Text)
		if v.Hex != nil {
			text = v.Hex
		}
		list = append(list, probe{"no JSON form: " + v.Name, func(r *reader.Reader) error {
			_, code := r.ParseJSON(text)
			return outcome{code}.want(v.Code)
		}})
	}
	return list
}

func ruleProbes(rules vectors.RuleVectors) (list []probe) {
	add := func(name string, run func(r *reader.Reader) error) { list = append(list, probe{name, run}) }
	for _, v := range rules.Secrets {
		add("secret: "+v.Name, func(r *reader.Reader) error { return probeSecret(r, v) })
	}
	for _, v := range rules.Sessions {
		add("session: "+v.Name, func(r *reader.Reader) error {
			master, name := r.Session(v.ID, v.Owner)
			return same([]string{hex.EncodeToString(master), name}, []string{hex.EncodeToString(v.MasterKey), v.StoredAs})
		})
	}
	for _, v := range rules.Collections {
		add("collection: "+v.Name, func(r *reader.Reader) error {
			collection, code := r.FieldCollection(v.Table, v.Column)
			return same([]string{collection, string(code)}, []string{v.Collection, v.Code})
		})
	}
	for _, v := range rules.Paddings {
		add(fmt.Sprintf("padding of %d", v.Length), func(r *reader.Reader) error { return same(r.Padded(int64(v.Length)), int64(v.Padded)) })
	}
	for _, v := range rules.Bodies {
		add("body: "+v.Name, func(r *reader.Reader) error { return outcome{r.Body(v.Algorithm, v.Flags, v.Length)}.want(v.Code) })
	}
	for _, v := range rules.Revisions {
		add("revision: "+v.Name, func(r *reader.Reader) error {
			return same([]bool{r.Supersedes(v.Later, v.Earlier), r.Supersedes(v.Earlier, v.Later)}, []bool{true, false})
		})
	}
	return append(list, primaryProbes(rules.Primaries)...)
}

func primaryProbes(primaries []vectors.Primary) (list []probe) {
	keysets, dead := map[string]vectors.Keyset{}, map[string]bool{}
	for _, d := range vectors.LoadDocuments().Documents {
		dead[d.Name] = shredded(d)
		for _, s := range d.Keysets {
			keysets[fmt.Sprint(d.Name, s.Use, s.Class)] = s
		}
	}
	for _, v := range primaries {
		s, found := keysets[fmt.Sprint(v.Document, v.Use, v.Class)]
		state := byte(0)
		for _, k := range s.Keys {
			if bytes.Equal(k.ID, s.Primary) {
				state = stateOf(k)
			}
		}
		if dead[v.Document] {
			state, found = reader.Destroyed, true
		}
		list = append(list, probe{"primary: " + v.Name, func(r *reader.Reader) error {
			code := r.Seals(state, found)
			if code == "" && !bytes.Equal(s.Primary, v.KeyID) {
				return fmt.Errorf("another key")
			}
			return outcome{code}.want(v.Code)
		}})
	}
	return list
}

func probeSecret(r *reader.Reader, v vectors.TextSecret) error {
	text := v.Text
	if v.Hex != nil {
		text = string(v.Hex)
	}
	if v.Kind == "master-key" {
		if code := r.CheckMasterKey(text); code != "" {
			return outcome{code}.want("")
		}
	} else {
		if err := (outcome{r.CheckMasterKey(text)}).want("invalid_argument"); err != nil {
			return err
		}
		if code := r.CheckPassphrase(text); code != "" || v.Code != "" {
			return outcome{code}.want(v.Code)
		}
	}
	return same(hex.EncodeToString(r.Key(v.Kind, text, v.Salt, v.Iterations)), hex.EncodeToString(v.Key))
}

func same(got, want any) error {
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if !bytes.Equal(a, b) {
		return fmt.Errorf("got %s, want %s", a, b)
	}
	return nil
}
