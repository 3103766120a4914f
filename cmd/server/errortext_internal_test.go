package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/codes"
)

// It names no package, repeats nothing, and has plain words for errors of the system.
func TestErrorTextIsForOperators(t *testing.T) {
	inner := &codes.Error{ErrorCode: "keyring_unavailable", Message: "the store of keysets cannot be read or written"}
	for want, err := range map[string]error{
		"keysets: the store of keysets cannot be read or written": fmt.Errorf("keystore: keysets: keystore: %w", inner),
		"the keys of tenant \"audit\" are gone":                   errors.New("the keys of tenant \"audit\" are gone"),
		"store unavailable: nothing listens on 127.0.0.1:1":       errors.New("{coffer-keys}/keyset/: rediskv: store unavailable: dial tcp 127.0.0.1:1: connect: connection refused"),
		"ping: 10.0.0.1:6379 does not answer":                     errors.New("rediskv: ping: read tcp 10.0.0.2:4000->10.0.0.1:6379: i/o timeout"),
		"the host nowhere.invalid is not known":                   errors.New("dial tcp: lookup nowhere.invalid on 127.0.0.53:53: no such host"),
		"the backup: /x/y does not exist":                         fmt.Errorf("the backup: %w", &fs.PathError{Op: "open", Path: "/x/y", Err: syscall.ENOENT}),
		"write the backup: /x is on a disk with no space left":    fmt.Errorf("write the backup: %w", &fs.PathError{Op: "write", Path: "/x/.writing-1", Err: syscall.ENOSPC}),
		"one\ntwo":                            errors.Join(errors.New("audit: one"), errors.New("kms: two"), errors.New("one")),
		"unwrap: there was no answer in time": fmt.Errorf("kms: unwrap: %w", context.DeadlineExceeded),
	} {
		require.Equal(t, want, errorText(err))
	}
}
