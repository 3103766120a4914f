package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadOnly: a log on a disk that is mounted to be read only is verified as one in a directory of somebody
// else's is.
func TestReadOnly(t *testing.T) {
	for err, want := range map[error]bool{syscall.EROFS: true, syscall.EACCES: true, syscall.EPERM: true, syscall.ENOSPC: false, errors.New("other"): false} {
		require.Equal(t, want, readOnly(fmt.Errorf("durable: %w", &fs.PathError{Op: "open", Path: "audit.lock", Err: err})), "%v", err)
	}
}
