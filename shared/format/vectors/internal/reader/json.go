package reader

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/format/jsonform" // only its tokenizer is used
)

// ParseJSON converts a text in JSON form to a binary package (section 7).
func (r *Reader) ParseJSON(text []byte) ([]byte, Code) {
	if !utf8.Valid(text) || !json.Valid(text) {
		return nil, malformed
	}
	top, ok := r.members(text, TopMembers, "ciphertext", "metadata")
	if !ok || top["metadata"] == nil {
		return nil, malformed
	}
	m := metadata{r: r}
	if m.members, ok = r.members(top["metadata"], MetadataMembers, metadataNames...); !ok && m.members == nil {
		return nil, malformed
	}
	version, isText := unquoted(m.members["version"])
	switch {
	case !isText:
		return nil, malformed
	case !r.check(JSONVersion, version == "1.0"):
		return nil, unsupported
	case !ok:
		return nil, malformed
	}
	header, nonce := m.header(), m.nonce()
	ciphertext, isText := unquoted(top["ciphertext"])
	body, valid := r.base64(ciphertext)
	if m.failed || !isText || !valid {
		return nil, malformed
	}
	pkg := slices.Concat(header, nonce, body)
	_, _, code := r.Parse(pkg)
	return pkg, code
}

var metadataNames = []string{
	"version", "algorithm", "keyId", "iv", "salt", "classification", "encryptedAt", "context", "use", "valueType", "keySource", "revision",
	"iterations", "tombstone", "sealedContext", "padded", "sealedName",
}

// members returns the known members of an object; of duplicate members it returns the last. It returns nil if the value is
// not an object, and false if there are other members.
func (r *Reader) members(object []byte, rule Rule, known ...string) (members map[string][]byte, ok bool) {
	all, isObject := jsonform.Members(object)
	if !isObject {
		return nil, false
	}
	members, ok = map[string][]byte{}, true
	for name, value := range all {
		if r.breaks(ExactNames) {
			for _, k := range known {
				if strings.EqualFold(k, string(name)) {
					name = []byte(k)
				}
			}
		}
		if !r.check(rule, slices.Contains(known, string(name))) {
			ok = false
		}
		members[string(name)] = value
	}
	return members, ok
}

func unquoted(value []byte) (string, bool) {
	s, ok := jsonform.Unquote(value)
	return string(s), ok
}

// metadata reads typed members. After the first invalid member, failed stays true.
type metadata struct {
	r       *Reader
	members map[string][]byte
	failed  bool
}

func (m *metadata) require(ok bool) {
	if !ok {
		m.failed = true
	}
}

func (m *metadata) text(name string) string {
	s, ok := unquoted(m.members[name])
	m.require(ok)
	return s
}

// oneOf returns the number of a name in a list.
func (m *metadata) oneOf(member string, rule Rule, names ...string) byte {
	s := m.text(member)
	if m.r.breaks(rule) {
		s = strings.TrimSpace(s)
		for _, name := range names {
			if strings.EqualFold(name, s) {
				s = name
			}
		}
	}
	i := slices.Index(names, s)
	m.require(i >= 0)
	return byte(i + 1)
}

// header encodes the members.
func (m *metadata) header() []byte {
	b := []byte{
		'C', 'F', 'R', 1,
		m.oneOf("algorithm", AlgorithmNames, "AES-256-GCM", "AES-256-GMAC", "Cobblestone-256"),
		m.oneOf("use", UseNames, "storage", "cache", "service", "field", "file"),
		m.flags(),
		m.oneOf("keySource", SourceNames, "keyset", "passphrase", "master-key"),
		m.oneOf("classification", ClassNames, "public", "internal", "confidential", "pii", "phi"),
		m.oneOf("valueType", TypeNames, "text", "bytes", "buffer", "json", "blob", "file", "view"),
	}
	id := m.text("keyId")
	if m.r.breaks(LowerHex) {
		id = strings.ToLower(id)
	}
	m.require(regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) || m.r.breaks(KeyIDSize))
	raw, _ := hex.DecodeString(id)
	b = append(b, slices.Concat(raw, make([]byte, 32))[:32]...)
	b = append(b, m.bytes("salt", 16, SaltSize)...)
	b = binary.BigEndian.AppendUint64(b, m.time())
	b = binary.BigEndian.AppendUint64(b, m.integer("revision", 0, maxRevision))
	iterations := uint64(0)
	if m.members["iterations"] != nil {
		iterations = m.integer("iterations", 1, math.MaxUint32)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(iterations))
	return sized(b, m.context())
}

func (m *metadata) flags() (flags byte) {
	for i, name := range []string{"tombstone", "sealedContext", "padded", "sealedName"} {
		value := string(m.members[name])
		m.require(value == "" || value == "true" || m.r.breaks(FlagsAreTrue))
		if value == "true" {
			flags |= 1 << i
		}
	}
	return flags
}

func (m *metadata) nonce() []byte {
	text, ok := unquoted(m.members["algorithm"])
	if ok && text == "Cobblestone-256" {
		m.require(m.r.check(NoNonce, m.members["iv"] == nil))
		return nil
	}
	return m.bytes("iv", 12, NonceSize)
}

// bytes decodes the base64 of n bytes.
func (m *metadata) bytes(name string, n int, rule Rule) []byte {
	b, ok := m.r.base64(m.text(name))
	m.require(ok && m.r.check(rule, len(b) == n))
	return append(b, make([]byte, n)...)[:n]
}

// base64 decodes strict base64.
func (r *Reader) base64(text string) ([]byte, bool) {
	if r.breaks(Base64Spaces) {
		text = strings.Map(func(c rune) rune {
			if strings.ContainsRune(" \r\n", c) {
				return -1
			}
			return c
		}, text)
	}
	if r.breaks(Base64Alphabet) {
		text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	}
	if r.breaks(Base64Padding) {
		text = strings.TrimRight(text, "=")
		text += strings.Repeat("=", (4-len(text)%4)%4)
	}
	encoding := base64.StdEncoding.Strict()
	if r.breaks(Base64Bits) {
		encoding = base64.StdEncoding
	}
	b, err := encoding.DecodeString(text)
	return b, err == nil && (r.breaks(Base64Spaces) || !strings.ContainsAny(text, "\r\n"))
}

var dateForm = regexp.MustCompile(`^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{3})Z$`)

// time parses a date. If it breaks a rule, it parses the date as a lenient reader would.
func (m *metadata) time() uint64 {
	text := m.text("encryptedAt")
	if m.r.breaks(DateForm) {
		if t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(text)); err == nil {
			return uint64(t.UnixMilli())
		}
	}
	f := dateForm.FindStringSubmatch(text)
	if f == nil {
		m.failed = true
		return 0
	}
	var n [8]int
	for i := 1; i < 8; i++ {
		n[i], _ = strconv.Atoi(f[i])
	}
	t := time.Date(n[1], time.Month(n[2]), n[3], n[4], n[5], n[6], n[7]*1e6, time.UTC)
	day := t.Format("2006-01-02")
	m.require(m.r.check(DateYear, n[1] >= 1970) && m.r.check(DateHour, n[4] <= 23) && m.r.check(DateMinute, n[5] <= 59) &&
		m.r.check(DateSecond, n[6] <= 59) && m.r.check(DateDay, n[4] > 23 || n[5] > 59 || n[6] > 59 || day == text[:10]))
	return uint64(max(t.UnixMilli(), 0))
}

// integer parses a number as an IEEE 754 double.
func (m *metadata) integer(name string, least, most float64) uint64 {
	text := string(m.members[name])
	if s, ok := unquoted([]byte(text)); ok && m.r.breaks(NumberType) {
		text = s
	}
	v, err := strconv.ParseFloat(text, 64)
	m.require(err == nil && m.r.check(WholeNumber, v == math.Trunc(v)) && m.r.check(MinNumber, v >= least) && m.r.check(MaxNumber, v <= most))
	return uint64(min(max(v, least), most))
}

// context encodes the context in ascending order of its keys.
func (m *metadata) context() []byte {
	object, ok := jsonform.Members(m.members["context"])
	if !ok {
		m.failed = !m.r.breaks(ContextMember) || m.failed
		return nil
	}
	entries := map[string]string{}
	for key, value := range object {
		s, isText := unquoted(value)
		if m.r.breaks(ContextTexts) && !isText {
			s, isText = string(value), true
		}
		if m.r.breaks(LoneSurrogates) {
			key, s = []byte(strings.ToValidUTF8(string(key), "\ufffd")), strings.ToValidUTF8(s, "\ufffd")
		}
		if !isText || !utf8.Valid(key) || !utf8.ValidString(s) {
			s = "\xff" // refused later, unless a later member has the same name
		}
		entries[string(key)] = s
	}
	return m.encode(entries)
}

func (m *metadata) encode(entries map[string]string) (b []byte) {
	keys := make([]string, 0, len(entries))
	for key := range entries {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		b = sized(sized(b, []byte(key)), []byte(entries[key]))
	}
	if len(b) > maxContext {
		m.failed = true
		return nil
	}
	return b
}
