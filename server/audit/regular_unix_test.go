//go:build !windows

package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
)

// A FIFO in the place of a file of the log is an error. It must not block a caller.
func TestFIFOInsteadOfFileBlocksNoCaller(t *testing.T) {
	for _, name := range []string{"audit/1/00000000000000000001.log", "audit/1/00000000000000000009.log", "audit/1/head"} {
		path := filepath.Join(t.TempDir(), "audit")
		f := open(t, path, audit.Options{})
		require.NoError(t, f.Record(t.Context(), useEvent(1)))
		require.NoError(t, f.Close())
		key, in := keyOf(t, path), filepath.Join(filepath.Dir(path), name)
		require.NoError(t, os.RemoveAll(in))
		require.NoError(t, syscall.Mkfifo(in, 0o600))
		errs := make(chan []error, 1)
		go func() {
			begun, errOpen := audit.Open(path, key, audit.Options{})
			if errOpen == nil {
				_ = begun.Record(context.Background(), useEvent(2))
				_ = begun.Close()
			}
			v, errVerify := audit.Verify(t.Context(), path, key, nil, nil)
			_, errPage := audit.NewReader(path, key).Page(t.Context(), audit.Query{Limit: 10})
			errTail := audit.Tail(t.Context(), path, 10, &audit.Filter{}, false, func(*audit.Line) error { return nil })
			switch name {
			case "audit/1/00000000000000000001.log", "audit/1/00000000000000000009.log":
				errs <- []error{errVerify, errPage, errTail}
			case "audit/1/head":
				errs <- []error{errors.New(string(v.Fault.Kind))}
			}
		}()
		select {
		case all := <-errs:
			for _, err := range all {
				require.Error(t, err, name)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: a call blocks", name)
		}
	}
}
