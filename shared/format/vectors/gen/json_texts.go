package main

import (
	"strings"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// text returns a package in JSON form with every member that a package can have. The parts of its header are fixed, so that
// edits find them.
func text() (format.Package, string) {
	r := newDocumentBuilder("texts", "test", "tenant")
	r.key(format.UseService, classify.PHI, r.root(""), "")
	p, _ := newPackageBuilder(r, "texts base", format.UseService, classify.PHI).
		withContext(map[string]string{"patient": "P12345", "__proto__": "😀"}).seal()
	p.Header.Source, p.Header.Iterations = format.FromPassphrase, classify.MinWriteIterations
	p.Header.KeyID = format.KeyID([]byte(strings.Repeat("\xab", format.KeyIDSize)))
	p.Header.Salt = format.Salt([]byte(strings.Repeat("\xfe", format.SaltSize)))
	p.Header.Revision = format.MaxRevision
	p.Body = []byte("nonce-12byteciphertext-tag-16-or-more")
	return p, string(must(jsonform.Marshal(p)))
}

// replaced replaces from, which must occur in text.
func replaced(text, from, to string) string {
	if !strings.Contains(text, from) {
		panic("no " + from)
	}
	return strings.Replace(text, from, to, 1)
}

// variants returns other texts of a package that JSON.parse reads as the same value.
func variants() (list []vectors.Variant) {
	p, base := text()
	binary := must(p.Append(nil))
	for i, edits := range [][][3]string{variantEdits, optionalEdits} {
		for _, e := range edits {
			list = append(list, vectors.Variant{Name: e[0], Text: replaced(base, e[1], e[2]), Package: binary, Optional: i == 1})
		}
	}
	return list
}

var variantEdits = [][3]string{
	{"as written", `{"ciphertext"`, `{"ciphertext"`},
	{"spaces", `{"cipher`, " \t\r\n{ \n\"cipher"}, {"spaces around colons", `:{"version"`, ` : { "version"`},
	{"spaces around a number", `600000`, " 600000 \n"}, {"spaces at the end", `600000}}`, "600000}\n}\n"},
	{"escaped version", `"version":"1.0"`, `"version":"\u0031.0"`}, {"escaped member", `"salt"`, `"s\u0061lt"`},
	{"escaped base64", `/v7+`, `\/v7\u002b`}, {"escaped ciphertext", `Y2lw`, `\u00592lw`},
	{"escaped pair of surrogates", `😀`, `\ud83d\ude00`}, {"upper case", `😀`, `\uD83D\uDE00`}, {"escaped __proto__", `__proto__`, `\u005f_proto__`},
}

// optionalEdits returns the edits that a reader may refuse: numbers in a form that no writer uses, and duplicate members.
var optionalEdits = [][3]string{
	{"number with an exponent", `600000`, `6e5`}, {"number with a fraction", `600000`, `600000.0`},
	{"number that rounds", `9007199254740991`, `9007199254740991.4`},
	{"member twice, the last counts", `"salt":"`, `"salt":"x","salt":"`},
	{"member twice, the first of another type", `"revision":`, `"revision":{"a":["}",{}],"b":"\\\""},"revision":`},
	{"metadata twice", `"metadata"`, `"metadata":7,"metadata"`},
	{"version twice", `"version"`, `"version":"2.0","version"`},
	{"context key twice", `"patient"`, `"p\u0061tient":"\ud800","patient"`},
	{"ciphertext and metadata twice", `"ciphertext"`, `"ciphertext":"","metadata":{},"ciphertext"`},
}

// refusedTexts returns texts that are not packages.
func refusedTexts() (list []vectors.MalformedText) {
	add := func(name, text, code string) {
		list = append(list, vectors.MalformedText{Name: name, Text: text, Code: code})
	}
	for name, text := range ordered("nothing", "", "space", " ", "null", "null", "array", "[]", "string", `"{}"`, "number", "1", "no members", "{}",
		"cut", "{", "no metadata", `{"ciphertext":""}`, "metadata null", `{"ciphertext":"","metadata":null}`) {
		add(name, text, "malformed")
	}
	_, base := text()
	for _, group := range [][][3]string{syntaxEdits, memberEdits, valueEdits, base64Edits, timeEdits, numberEdits, contextEdits} {
		for _, e := range group {
			add(e[0]+": "+shortenName(e[2]), replaced(base, e[1], e[2]), "malformed")
		}
	}
	p, _ := text()
	p.Header.Algorithm, p.Body = format.Chunked, make([]byte, 24+32+16)
	chunked := string(must(jsonform.Marshal(p)))
	add("nonce of a chunked package", replaced(chunked, `"salt"`, `"iv":"bm9uY2UtMTJieXRl","salt"`), "malformed")
	for _, to := range []string{`"2.0"`, `"1"`, `""`, `"1.0 "`, `"1.\ud800"`, `"2.0","new":{}`, `"2.0","iv":7`} {
		add("version: "+to, replaced(base, `"1.0"`, to), "unsupported_version")
	}
	for name, bytes := range ordered("not UTF-8", "\xff", "surrogate in UTF-8", "\xed\xa0\x80") {
		list = append(list, vectors.MalformedText{Name: name, Hex: vectors.Hex(replaced(base, "P12345", bytes)), Code: "malformed"})
	}
	return list
}

// shortenName shortens the name of a vector.
func shortenName(name string) string {
	if len(name) > 60 {
		return strings.ToValidUTF8(name[:60], "")
	}
	return name
}

var syntaxEdits = [][3]string{
	{"byte order mark", `{"cipher`, "\ufeff{\"cipher"}, {"trailing text", `}}`, `}} x`}, {"trailing comma", `600000}}`, `600000,}}`},
	{"comment", `{"cipher`, `/**/{"cipher`}, {"single quotes", `"1.0"`, `'1.0'`}, {"line break in a string", `P12345`, "P\n"},
	{"unknown escape", `P12345`, `\x50`}, {"leading zero", `:600000`, `:0600000`}, {"plus", `:600000`, `:+600000`}, {"no-break space", `:600000`, ":\u00a0600000"},
}

var memberEdits = [][3]string{
	{"case", `"ciphertext"`, `"Ciphertext"`}, {"case", `"keyId"`, `"keyid"`}, {"case", `"iv"`, `"IV"`}, {"case", `"metadata"`, `"metaData"`},
	{"case, beside the right one", `"salt"`, `"SALT":"x","salt"`},
	{"unknown at the top", `{"ciphertext"`, `{"extra":1,"ciphertext"`}, {"unknown at the top", `{"ciphertext"`, `{"__proto__":{},"ciphertext"`},
	{"unknown in metadata", `"salt"`, `"pepper":1,"salt"`}, {"unknown in metadata", `"salt"`, `"__proto__":null,"salt"`},
	{"ciphertext null", `"ciphertext":"`, `"ciphertext":null,"x":"`}, {"missing", `"use":"service",`, ``}, {"missing", `"valueType":"text",`, ``},
	{"missing", `"revision":9007199254740991,`, ``}, {"missing", `"keySource":"passphrase",`, ``}, {"missing", `"version":"1.0",`, ``},
	{"missing", `"classification":"phi",`, ``}, {"missing", `"algorithm":"AES-256-GCM",`, ``}, {"missing", `"iv":"bm9uY2UtMTJieXRl",`, ``},
	{"missing", `"salt":"/v7+/v7+/v7+/v7+/v7+/g==",`, ``},
	{"missing", `,"iterations":600000`, ``}, {"missing", `"encryptedAt":"2025-01-15T12:00:00.000Z",`, ``}, {"missing", `"context":{`, `"ctx":{`},
}

var valueEdits = [][3]string{
	{"version", `"1.0"`, `1.0`}, {"version", `"1.0"`, `null`}, {"algorithm", `AES-256-GCM`, `aes-256-gcm`},
	{"algorithm", `AES-256-GCM`, `AES-256-GMAC`}, {"algorithm", `"AES-256-GCM"`, `1`}, {"algorithm", `AES-256-GCM`, `Cobblestone-256`},
	{"classification", `"phi"`, `"PHI"`}, {"classification", `"phi"`, `"public "`}, {"classification", `"phi"`, `"unknown"`},
	{"classification", `"phi"`, `["phi"]`}, {"value type", `"text"`, `"Text"`}, {"use", `"service"`, `"unknown"`}, {"use", `"service"`, `"Service"`}, {"use", `"service"`, `""`},
	{"source with iterations", `"passphrase"`, `"keyset"`}, {"source", `"passphrase"`, `"master_key"`}, {"source", `"passphrase"`, `"Passphrase"`},
	{"key id", `abab`, `ABAB`}, {"key id", `abab`, `abag`},
	{"key id, short", `abab`, ``}, {"key id, long", `abab`, `ababab`}, {"flag", `600000`, `600000,"tombstone":false`}, {"flag", `600000`, `600000,"tombstone":null`},
	{"flag", `600000`, `600000,"padded":false`}, {"flag", `600000`, `600000,"sealedName":""`}, {"flag", `600000`, `600000,"sealedContext":1`}, {"flag", `600000`, `600000,"sealedContext":"true"`},
	{"flag of another type", `"iterations":`, `"padded":1,"iterations":`}, {"flag of another type", `"iterations":`, `"padded":"true","iterations":`},
	{"sealed context and a context", `600000`, `600000,"sealedContext":true`}, {"tombstone of a text", `600000`, `600000,"tombstone":true`},
}

var base64Edits = [][3]string{
	{"salt", `"/v7+`, `" /v7+`}, {"salt", `/v7+`, `/v7+\n`}, {"salt", `/v7+`, `/v7-`}, {"salt", `/g==`, `/g`}, {"salt", `/g==`, `/h==`},
	{"salt", `/g==`, `/g==\n`}, {"salt, short", `/v7+`, ``}, {"salt, long", `/v7+`, `/v7+/v7+`}, {"salt", `/g==`, `/g=`}, {"salt", `"/v7+/v7+/v7+/v7+/v7+/g=="`, `null`},
	{"nonce, short", `bm9u`, ``}, {"nonce, long", `bm9u`, `bm9ubm9u`}, {"nonce", `"bm9uY2UtMTJieXRl"`, `""`}, {"nonce", `"bm9uY2UtMTJieXRl"`, `null`},
	{"nonce", `bm9u`, `bm\u00e9u`}, {"nonce", `bm9u`, `bm9u\ud800`},
	{"ciphertext", `Y2lw`, `Y2lw\r\n`}, {"ciphertext", `Y2lw`, `Y2lw `}, {"ciphertext", `ZQ==`, `ZQ=`}, {"ciphertext", `ZQ==`, `ZR==`}, {"ciphertext", `ZQ==`, `ZQ`},
	{"ciphertext", `ZQ==`, `====`}, {"ciphertext", `ZQ==`, `Z===`}, {"ciphertext", `Y2lw`, `Y2l=`}, {"ciphertext", `Y2lw`, `Y2_w`}, {"ciphertext", `Y2lw`, `Y2lwZQ==`},
	{"ciphertext, short", `Y2lwaGVydGV4dC10YWctMTYtb3ItbW9yZQ==`, ``}, {"ciphertext, 15 bytes", `Y2lwaGVydGV4dC10YWctMTYtb3ItbW9yZQ==`, `Y2lwaGVydGV4dC10YWct`},
}

var timeEdits = [][3]string{
	{"time", `.000Z`, `Z`}, {"time", `.000Z`, `.0Z`}, {"time", `.000Z`, `.0000Z`}, {"time", `.000Z`, `.000+00:00`}, {"time", `.000Z`, `,000Z`},
	{"time", `.000Z`, `.000z`}, {"time", `.000Z`, `.000`}, {"time", `T12`, ` 12`}, {"time", `T12`, `t12`}, {"time", `T12`, `T24`}, {"time", `01-15`, `02-30`},
	{"time", `12:00:00`, `12:60:00`}, {"time", `12:00:00`, `12:99:00`}, {"time", `01-15`, `00-15`}, {"time", `01-15`, `01-00`},
	{"time", `01-15`, `02-29`}, {"time", `01-15`, `13-15`}, {"time", `2025`, `1969`}, {"time", `2025`, `+002025`}, {"time", `2025`, `12025`},
	{"time", `12:00:00`, `12:00:60`}, {"time", `12:00:00`, `12:0:00`}, {"time", `"2025-01-15T12:00:00.000Z"`, `1736942400000`},
}

var numberEdits = [][3]string{
	{"revision", `9007199254740991`, `9007199254740992`}, {"revision", `9007199254740991`, `9007199254740991.5`}, {"revision", `9007199254740991`, `-1`},
	{"revision", `9007199254740991`, `0.5`}, {"revision", `9007199254740991`, `"0"`}, {"revision", `9007199254740991`, `1e400`},
	{"revision", `9007199254740991`, `null`}, {"revision", `9007199254740991`, `true`}, {"iterations", `600000`, `0`}, {"iterations", `600000`, `4294967296`},
	{"iterations", `600000`, `-600000`}, {"iterations", `600000`, `600000.5`}, {"iterations", `600000`, `null`}, {"iterations", `600000`, `"600000"`},
}

var contextEdits = [][3]string{
	{"context value", `"P12345"`, `12345`}, {"context value", `"P12345"`, `null`}, {"context value", `"P12345"`, `{}`}, {"context value", `"P12345"`, `true`},
	{"lone surrogate", `"P12345"`, `"\ud800"`}, {"lone surrogate", `"P12345"`, `"\udc00\ud800"`}, {"lone surrogate", `"P12345"`, `"\ud800\u0041"`},
	{"lone surrogate", `"patient"`, `"\uDFFF"`}, {"lone surrogates", `"patient"`, `"\ud800":"","\ud801"`}, {"null", `{"__proto__":"😀","patient":"P12345"}`, `null`},
	{"array", `{"__proto__":"😀","patient":"P12345"}`, `[]`}, {"string", `{"__proto__":"😀","patient":"P12345"}`, `""`},
	{"65 entries", `"patient"`, manyEntries() + `"patient"`},
	{"key of 65543 bytes, which is 7 in two bytes", `"patient"`, `"` + strings.Repeat("x", 1<<16+len("patient")) + `"`},
	{"16385 bytes", `"P12345"`, `"` + strings.Repeat("x", format.MaxContext-len("patient")-len("__proto__")-len("😀")-8+1) + `"`},
}

// manyEntries returns 63 entries of a context in JSON, each followed by a comma.
func manyEntries() string {
	var b strings.Builder
	for i := range 63 {
		b.WriteString(`"` + string(rune(0x4E00+i)) + `":"",`)
	}
	return b.String()
}
