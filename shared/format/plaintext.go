package format

import (
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/wire"
)

// Details describe a value (SPEC.md section 6.1). They are part of the plaintext, because they may be personal data.
type Details struct {
	Context      Context // only with flag SealedContext
	Name         string  // the record's name, only with flag SealedName
	MediaType    string  // only for Blob and File
	FileName     string  // only for File
	LastModified int64   // only for File, milliseconds since 1970-01-01T00:00:00Z; may be negative
	Element      Element // only for View
}

// AppendPlaintext appends the plaintext of a package with header h to dst: details, value and padding (SPEC.md section
// 6). It returns ErrInvalid for details or a value that h does not allow, and ErrTooLarge if one exceeds its limit.
func AppendPlaintext(dst []byte, h *Header, d Details, value []byte) ([]byte, error) {
	start := len(dst)
	if err := checkValue(h, d.Element, len(value)); err != nil {
		return dst, err
	}
	dst, err := AppendDetails(dst, h, d)
	if err != nil {
		return dst, err
	}
	dst = append(dst, value...)
	if h.Flags&Padded != 0 {
		dst = AppendPadding(dst, len(dst)-start)
	}
	return dst, nil
}

// checkValue returns ErrTooLarge or ErrInvalid for a value of n bytes that h does not allow.
func checkValue(h *Header, e Element, n int) error {
	switch {
	case h.Algorithm != Chunked && n > MaxValue:
		return ErrTooLarge
	case h.Flags&Tombstone != 0 && n > 0, h.Type == View && !e.fits(n):
		return ErrInvalid
	}
	return nil
}

// AppendDetails appends the details that precede the value in the plaintext of a package with header h (SPEC.md section
// 6.1). Most packages have no details. It returns ErrInvalid for a detail that h does not allow, and ErrTooLarge for one
// that exceeds MaxName, MaxMediaType or MaxFileName.
func AppendDetails(dst []byte, h *Header, d Details) ([]byte, error) {
	if err := checkDetails(h, &d); err != nil {
		return dst, err
	}
	if h.Flags&SealedContext != 0 {
		dst = wire.AppendText(dst, d.Context.encoded)
	}
	if h.Flags&SealedName != 0 {
		dst = wire.AppendText(dst, d.Name)
	}
	if h.Type == Blob || h.Type == File {
		dst = wire.AppendText(dst, d.MediaType)
	}
	if h.Type == File {
		dst = wire.AppendText(dst, d.FileName)
		dst = wire.AppendUint(dst, uint64(d.LastModified), 8)
	}
	if h.Type == View {
		dst = append(dst, byte(d.Element))
	}
	return dst, nil
}

func checkDetails(h *Header, d *Details) error {
	if len(d.Name) > MaxName || len(d.MediaType) > MaxMediaType || len(d.FileName) > MaxFileName {
		return ErrTooLarge
	}
	if !utf8.ValidString(d.Name) || !utf8.ValidString(d.MediaType) || !utf8.ValidString(d.FileName) {
		return ErrInvalid
	}
	if d.LastModified < -MaxTime || d.LastModified > MaxTime {
		return ErrInvalid
	}
	hasMediaType := h.Type == Blob || h.Type == File
	misplaced := h.Flags&SealedContext == 0 && d.Context.Size() > 0 ||
		h.Flags&SealedName == 0 && d.Name != "" ||
		!hasMediaType && d.MediaType != "" ||
		h.Type != File && (d.FileName != "" || d.LastModified != 0) ||
		h.Type == View && !d.Element.Valid() || h.Type != View && d.Element != 0
	if misplaced {
		return ErrInvalid
	}
	return nil
}

// SplitPlaintext splits the plaintext of a package with header h into details and value, and removes the padding. The
// value aliases plaintext. It returns ErrMalformed for a plaintext that does not match h.
func SplitPlaintext(h *Header, plaintext []byte) (d Details, value []byte, err error) {
	d, value, err = SplitDetails(h, plaintext)
	if err == nil && h.Flags&Padded != 0 {
		value, err = trimPadding(value)
	}
	if err == nil && checkValue(h, d.Element, len(value)) != nil {
		err = ErrMalformed
	}
	if err != nil {
		return Details{}, nil, err
	}
	return d, value, nil
}

// SplitDetails splits a plaintext into its details and the remaining bytes, which alias it. It needs only the first
// MaxDetails bytes of a longer plaintext. It returns ErrMalformed for a plaintext that does not match h.
func SplitDetails(h *Header, plaintext []byte) (d Details, rest []byte, err error) {
	c := fieldReader{rest: plaintext}
	if h.Flags&SealedContext != 0 {
		if d.Context, err = parseContext(c.bytes(MaxContext)); err != nil {
			return Details{}, nil, err
		}
	}
	if h.Flags&SealedName != 0 {
		d.Name = c.text(MaxName)
	}
	if h.Type == Blob || h.Type == File {
		d.MediaType = c.text(MaxMediaType)
	}
	if h.Type == File {
		d.FileName, d.LastModified = c.text(MaxFileName), c.time()
	}
	if h.Type == View {
		d.Element = c.element()
	}
	if c.failed {
		return Details{}, nil, ErrMalformed
	}
	return d, c.rest, nil
}

// fieldReader reads fields from the start of rest. After the first field that is missing or invalid, failed stays true.
type fieldReader struct {
	rest   []byte
	failed bool
}

func (c *fieldReader) bytes(limit int) []byte {
	if len(c.rest) >= 2 {
		if n := int(c.rest[0])<<8 + int(c.rest[1]); n <= limit && n <= len(c.rest)-2 {
			field := c.rest[2 : 2+n]
			c.rest = c.rest[2+n:]
			return field
		}
	}
	c.failed = true
	return nil
}

func (c *fieldReader) text(limit int) string {
	s := string(c.bytes(limit))
	c.failed = c.failed || !utf8.ValidString(s)
	return s
}

func (c *fieldReader) time() int64 {
	if c.failed = c.failed || len(c.rest) < 8; c.failed {
		return 0
	}
	t := int64(wire.Uint64(c.rest))
	c.rest = c.rest[8:]
	c.failed = t < -MaxTime || t > MaxTime
	return t
}

func (c *fieldReader) element() Element {
	if c.failed = c.failed || len(c.rest) < 1; c.failed {
		return 0
	}
	e := Element(c.rest[0])
	c.rest = c.rest[1:]
	c.failed = !e.Valid()
	return e
}
