package main

import (
	"context"
	"errors"
	"io/fs"
	"net"

	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// exit is the exit code of a command that failed.
type exit int

// The exit codes. Scripts rely on them: they never change.
const (
	exitFailed      exit = 1
	exitUsage       exit = 2
	exitRefused     exit = 3
	exitNotFound    exit = 4
	exitUnreachable exit = 5
)

const exitHelp = `Exit codes: 0 success; 1 failure; 2 the command line or a setting is not valid; 3 the command was refused, and nothing was changed; 4 the tenant,
key, token or file does not exist; 5 the server, the store or the KMS cannot be reached.`

// exitError is an error with an exit code of its own.
type exitError struct {
	error
	code exit
}

// Unwrap returns the error itself.
func (e *exitError) Unwrap() error { return e.error }

func exitWith(code exit, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{err, code}
}

// usageError, refusedError and notFoundError return errors with these exit codes.
func usageError(err error) error { return exitWith(exitUsage, err) }

func refusedError(err error) error { return exitWith(exitRefused, err) }

func notFoundError(err error) error { return exitWith(exitNotFound, err) }

// exitCodes are the exit codes of the error codes in package codes. Other codes exit with exitFailed.
var exitCodes = map[string]exit{
	"invalid_argument": exitUsage, "not_configured": exitUsage, "ttl_out_of_range": exitUsage, "kdf_out_of_range": exitUsage,

	"wrong_secret": exitRefused, "key_destroyed": exitRefused, "key_unusable": exitRefused, "class_too_low": exitRefused, "locked": exitRefused,
	"unauthorized": exitRefused, "forbidden": exitRefused, "precondition_failed": exitRefused, "encryption_disabled": exitRefused,
	"kms_denied": exitRefused, "kms_key_unusable": exitRefused, "cache_not_shared": exitRefused, "authentication_failed": exitRefused,

	"not_found": exitNotFound, "unknown_key": exitNotFound,

	"timeout": exitUnreachable, "store_unavailable": exitUnreachable, "keyring_unavailable": exitUnreachable, "rate_limited": exitUnreachable,
	"identity_unavailable": exitUnreachable, "shutting_down": exitUnreachable, "kms_throttled": exitUnreachable, "unreachable": exitUnreachable,
}

// errorExitCodes are the exit codes of errors that have no code, or another exit code than their code.
var errorExitCodes = []struct {
	is   error
	code exit
}{

	{errAuditLogGone, exitRefused}, {errAuditKeyMissing, exitRefused}, {errSystemKeysMissing, exitRefused},
	{kms.ErrWrongKey, exitRefused}, {envelope.ErrWrongSecret, exitRefused},
	{keyring.ErrBackup, exitRefused}, {recovery.ErrNoKeys, exitNotFound}, {keyring.ErrWrongEnvironment, exitRefused},
	{lifecycle.ErrNoKey, exitNotFound}, {rotation.ErrNoRollback, exitRefused},
	{token.ErrNoToken, exitNotFound}, {token.ErrGrant, exitUsage},
	{fs.ErrNotExist, exitNotFound}, {fs.ErrExist, exitRefused}, {fs.ErrPermission, exitRefused},
	{context.DeadlineExceeded, exitUnreachable},
}

// exitOf returns the exit code of an error. If no RunE has started, the command line was refused.
func exitOf(err error, begun bool) exit {
	if !begun {
		return exitUsage
	}
	if stated := (*exitError)(nil); errors.As(err, &stated) {
		return stated.code
	}
	for _, s := range errorExitCodes {
		if errors.Is(err, s.is) {
			return s.code
		}
	}
	if code, ok := exitCodes[codes.Of(err).Code]; ok {
		return code
	}
	if away := (*net.OpError)(nil); errors.As(err, &away) {
		return exitUnreachable
	}
	return exitFailed
}
