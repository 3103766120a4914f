package format

import (
	"encoding/binary"
	"unicode/utf8"
)

// Details is what is said of a value inside its plaintext, because it may be personal data itself.
type Details struct {
	Context      Context // only under SealedContext
	MediaType    string  // only of Blob and File
	FileName     string  // only of File
	LastModified int64   // only of File, milliseconds since 1970-01-01T00:00:00Z; may be negative
}

// AppendDetails appends what precedes the value in the plaintext of a package with header h (SPEC.md section
// 6): nothing for most. It returns ErrInvalid where d says what h has no place for, and ErrTooLarge beyond
// MaxMediaType or MaxFileName.
func AppendDetails(dst []byte, h *Header, d Details) ([]byte, error) {
	if err := checkDetails(h, d); err != nil {
		return dst, err
	}
	if h.Flags&SealedContext != 0 {
		dst = appendString16(dst, d.Context.encoded)
	}
	if h.Type == Blob || h.Type == File {
		dst = appendString16(dst, d.MediaType)
	}
	if h.Type == File {
		dst = appendString16(dst, d.FileName)
		dst = binary.BigEndian.AppendUint64(dst, uint64(d.LastModified))
	}
	return dst, nil
}

func checkDetails(h *Header, d Details) error {
	if len(d.MediaType) > MaxMediaType || len(d.FileName) > MaxFileName {
		return ErrTooLarge
	}
	if !utf8.ValidString(d.MediaType) || !utf8.ValidString(d.FileName) || d.LastModified < -MaxTime || d.LastModified > MaxTime {
		return ErrInvalid
	}
	hasMediaType := h.Type == Blob || h.Type == File
	misplaced := h.Flags&SealedContext == 0 && d.Context.Size() > 0 ||
		!hasMediaType && d.MediaType != "" ||
		h.Type != File && (d.FileName != "" || d.LastModified != 0)
	if misplaced {
		return ErrInvalid
	}
	return nil
}

// CutDetails splits an opened plaintext into its details and the value, which aliases it. A plaintext that
// does not follow its header is ErrMalformed.
func CutDetails(h *Header, plaintext []byte) (d Details, value []byte, err error) {
	value = plaintext
	ok := true
	if h.Flags&SealedContext != 0 {
		var context []byte
		if context, value, ok = cut16(value); !ok {
			return Details{}, nil, ErrMalformed
		}
		if d.Context, err = parseContext(context); err != nil {
			return Details{}, nil, err
		}
	}
	if h.Type == Blob || h.Type == File {
		if d.MediaType, value, ok = cutText(value, MaxMediaType); !ok {
			return Details{}, nil, ErrMalformed
		}
	}
	if h.Type == File {
		if d.FileName, value, ok = cutText(value, MaxFileName); !ok || len(value) < 8 {
			return Details{}, nil, ErrMalformed
		}
		d.LastModified, value = int64(binary.BigEndian.Uint64(value)), value[8:]
		if d.LastModified < -MaxTime || d.LastModified > MaxTime {
			return Details{}, nil, ErrMalformed
		}
	}
	if h.Flags&Tombstone != 0 && len(value) > 0 || h.Algorithm != Chunked && len(value) > MaxValue {
		return Details{}, nil, ErrMalformed
	}
	return d, value, nil
}

func cutText(b []byte, limit int) (text string, rest []byte, ok bool) {
	field, rest, ok := cut16(b)
	if !ok || len(field) > limit || !utf8.Valid(field) {
		return "", b, false
	}
	return string(field), rest, true
}
