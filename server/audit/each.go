package audit

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/coffer-storage/coffer/shared/codes"
)

// ErrAltered says that a log is not as it was written.
var ErrAltered = &codes.Error{Of: "authentication_failed", Text: "the audit log is not as it was written"}

// Each goes over a log as Verify does and calls do with the lines that a filter wants, the oldest first. It
// returns ErrAltered where Verify finds a fault:
// what do was told until then must not be acted upon.
func Each(ctx context.Context, path string, key *Key, filter *Filter, do func(*Line)) error {
	v, err := run(ctx, path, key, nil, nil, func(text []byte) {
		if l, ok := ParseLine(text); ok && filter.Wants(l) {
			do(l)
		}
	})
	if err == nil && v.Fault != nil {
		err = fmt.Errorf("%w: %s: %s:%d: %s", ErrAltered, v.Fault.Kind, v.Fault.File, v.Fault.Line, v.Fault.Detail)
	}
	return err
}

// EachUnproven calls do with the lines of one file that a filter wants, as they stand there. Who can write to
// the file decides what they say.
func EachUnproven(ctx context.Context, path string, filter *Filter, do func(*Line)) error {
	file, _, err := openRegular(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for lines := newPieces(file); ; {
		p, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("audit: %s: %w", path, err)
		}
		if l, ok := ParseLine(p.line()); ok && p.whole && filter.Wants(l) {
			do(l)
		}
	}
}
