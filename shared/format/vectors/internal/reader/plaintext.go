package reader

import (
	"encoding/binary"
	"encoding/json"
	"unicode/utf8"
)

// cut splits a plaintext into details and value (sections 6.1 and 6.2).
func (r *Reader) cut(h *Header, b []byte) (o Opened, code Code) {
	ok := true
	field := func(utf8Rule, limitRule Rule, limit int) string {
		f, rest, found := cut(b)
		if !found {
			ok = ok && r.breaks(DetailsComplete)
			return ""
		}
		b = rest
		ok = ok && r.check(utf8Rule, utf8.Valid(f)) && r.check(limitRule, len(f) <= limit)
		return string(f)
	}
	name := func() {
		if h.Flags&sealedName != 0 {
			o.Name = field(SealedNameUTF8, SealedNameLimit, 1024)
		}
	}
	if r.breaks(NameAfterContext) {
		name()
	}
	if h.Flags&sealedContext != 0 {
		raw, rest, found := cut(b)
		if ok = found || r.breaks(DetailsComplete); found {
			b = rest
			context, valid := r.context(raw)
			ok = r.check(SealedContextRules, valid)
			o.Context = context
		}
	}
	if !r.breaks(NameAfterContext) {
		name()
	}
	if h.Type == blob || h.Type == file {
		o.MediaType = field(MediaTypeUTF8, MediaTypeLimit, 255)
	}
	if h.Type == file {
		o.FileName = field(FileNameUTF8, FileNameLimit, 1024)
		ok = r.time(&o, &b) && ok
	}
	if h.Type == view {
		ok = r.element(&o, &b) && ok
	}
	if !ok {
		return Opened{}, malformed
	}
	return r.value(h, o, b)
}

func (r *Reader) time(o *Opened, b *[]byte) bool {
	if len(*b) < 8 {
		return r.breaks(DetailsComplete)
	}
	o.LastModified, *b = int64(binary.BigEndian.Uint64(*b)), (*b)[8:]
	return r.check(ModifiedBefore, o.LastModified <= maxTime) && r.check(ModifiedAfter, o.LastModified >= -maxTime)
}

func (r *Reader) element(o *Opened, b *[]byte) bool {
	if len(*b) < 1 {
		return r.breaks(DetailsComplete)
	}
	o.Element, *b = (*b)[0], (*b)[1:]
	return r.check(KnownElement, o.Element >= 1 && o.Element <= 12)
}

// value removes the padding and checks the limits of the value.
func (r *Reader) value(h *Header, o Opened, b []byte) (Opened, Code) {
	if h.Flags&padded != 0 && !r.breaks(PaddingRemoved) {
		n := len(b)
		for n > 0 && b[n-1] == 0 {
			n--
		}
		if n == 0 || b[n-1] != 0x80 {
			if !r.breaks(PaddingMark) {
				return Opened{}, malformed
			}
			n = max(n, 1)
		}
		if r.breaks(AnyPadding) && h.Algorithm == onePiece && int64(len(b)) != padme(int64(n-1)) && h.Flags == padded {
			return Opened{}, malformed
		}
		b = b[:min(n-1, len(b))]
	}
	sizes := [...]int{1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8}
	whole := h.Type != view || int(o.Element) < len(sizes) && len(b)%sizes[o.Element] == 0
	if !r.check(WholeElements, whole) || !r.check(EmptyTombstone, h.Flags&tombstone == 0 || len(b) == 0) ||
		!r.check(ValueLimit, h.Algorithm == chunked || len(b) <= maxValue) ||
		r.breaks(LargeChunked) && h.Algorithm == chunked && len(b) > maxValue {
		return Opened{}, malformed
	}
	o.Value = b
	return o, ""
}

// Decode returns the value of a text or JSON package as text.
func (r *Reader) Decode(kind byte, value []byte) (string, Code) {
	rule := [...]Rule{text: TextUTF8, jsonText: JSONValueUTF8}[kind]
	if !r.check(rule, utf8.Valid(value)) {
		return "", malformed
	}
	if kind == jsonText && !r.check(JSONValueValid, json.Valid(value)) {
		return "", malformed
	}
	if r.breaks(KeepMark) && len(value) >= 3 && string(value[:3]) == "\ufeff" {
		value = value[3:]
	}
	return string(value), ""
}
