package rediskv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

var errClosed = fmt.Errorf("rediskv: %w", kv.ErrClosed)

// MapError returns the error of package kv that corresponds to an error of go-redis. op names the failed operation. The
// result never wraps err, which may quote values: an error of go-redis' parser quotes the reply, and one of Redis the
// command.
func MapError(op string, err error) error {
	var reply redis.Error
	switch {
	case errors.Is(err, redis.ErrClosed):
		return fmt.Errorf("rediskv: %s: %w", op, kv.ErrClosed)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("rediskv: %s: %w", op, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("rediskv: %s: %w: %w", op, kv.ErrUnavailable, context.DeadlineExceeded)
	case errors.As(err, &reply):
		return replyError(op, reply.Error())
	}
	return fmt.Errorf("rediskv: %s: %w: %s", op, connectionError(err), cutAtQuote(err.Error()))
}

// connectionError returns kv.ErrUnavailable if the command was certainly not sent, and otherwise kv.ErrLostReply.
func connectionError(err error) error {
	var operation *net.OpError
	if errors.As(err, &operation) && operation.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) {
		return kv.ErrUnavailable
	}
	return kv.ErrLostReply
}

// unavailableReplies maps the first word of error replies to explanations. All of them mean that Redis cannot serve the
// command now.
var unavailableReplies = map[string]string{
	"READONLY":    "this Redis is a read-only replica",
	"MISCONF":     "Redis cannot save to its disk and refuses writes",
	"LOADING":     "Redis is still loading its data",
	"BUSY":        "Redis is busy with a script",
	"CLUSTERDOWN": "the Redis cluster is down",
	"MASTERDOWN":  "the Redis master is down",
	"NOREPLICAS":  "Redis has too few replicas to accept writes",
	"TRYAGAIN":    "the Redis cluster is moving this key",
	"MOVED":       "this Redis is part of a cluster: use a cluster client",
	"WRONGPASS":   "Redis refused the user name or the password",
	"NOAUTH":      "Redis demands a password",
	"NOPERM":      "the Redis user lacks the permission for this command",
}

// replyError maps an error reply. The text of an unknown reply is part of the result, as far as it cannot contain data.
func replyError(op, text string) error {
	word, _, _ := strings.Cut(text, " ")
	if why, ok := unavailableReplies[word]; ok {
		return fmt.Errorf("rediskv: %s: %w: %s", op, kv.ErrUnavailable, why)
	}
	switch {
	case word == "OOM":
		return fmt.Errorf("rediskv: %s: %w: Redis is at its maxmemory", op, kv.ErrFull)
	case word == "WRONGTYPE":
		return fmt.Errorf("rediskv: %s: %w: the key has another Redis type than string", op, kv.ErrWrongType)
	case strings.HasPrefix(text, "ERR max number of clients"):
		return fmt.Errorf("rediskv: %s: %w: Redis has too many clients", op, kv.ErrUnavailable)
	}
	return fmt.Errorf("rediskv: %s: Redis answered: %s", op, cutAtQuote(text))
}

// cutAtQuote cuts a message at its first quotation mark, because the quoted text may be data.
func cutAtQuote(text string) string {
	if i := strings.IndexAny(text, "\"'`"); i >= 0 {
		text = text[:i] + "…"
	}
	return text
}
