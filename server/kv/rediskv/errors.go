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

// failure maps what go-redis returned to kv's errors. It never wraps the original: an error of the parser
// quotes the reply, and one of the server can quote the command, values included.
func mapError(op string, err error) error {
	var reply redis.Error
	switch {
	case errors.Is(err, redis.ErrClosed):
		return fmt.Errorf("rediskv: %s: %w", op, kv.ErrClosed)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("rediskv: %s: %w", op, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("rediskv: %s: %w: %w", op, kv.ErrUnavailable, context.DeadlineExceeded)
	case errors.As(err, &reply):
		return refusal(op, reply.Error())
	}
	return fmt.Errorf("rediskv: %s: %w: %s", op, doubt(err), unquoted(err.Error()))
}

// doubt returns kv.ErrUnavailable if the command was certainly not sent, and else kv.ErrLostReply.
func doubt(err error) error {
	var operation *net.OpError
	if errors.As(err, &operation) && operation.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) {
		return kv.ErrUnavailable
	}
	return kv.ErrLostReply
}

// unavailable lists the error replies that say that Redis cannot serve now, by their first word.
var unavailable = map[string]string{
	"READONLY":    "this Redis is a read-only replica",
	"MISCONF":     "Redis cannot save to its disk and refuses writes",
	"LOADING":     "Redis is still loading its data",
	"BUSY":        "Redis is busy with a script",
	"CLUSTERDOWN": "the Redis cluster is down",
	"MASTERDOWN":  "the Redis master is down",
	"NOREPLICAS":  "Redis has too few replicas to take writes",
	"TRYAGAIN":    "the Redis cluster is moving this key",
	"MOVED":       "this Redis is part of a cluster: use a cluster client",
	"WRONGPASS":   "Redis refused the user name or the password",
	"NOAUTH":      "Redis demands a password",
	"NOPERM":      "this user of Redis may not do that",
}

// refusal says in our words what Redis answered; only an unknown answer is told in its own.
func refusal(op, text string) error {
	word, _, _ := strings.Cut(text, " ")
	if why, ok := unavailable[word]; ok {
		return fmt.Errorf("rediskv: %s: %w: %s", op, kv.ErrUnavailable, why)
	}
	switch {
	case word == "OOM":
		return fmt.Errorf("rediskv: %s: %w: Redis is at its maxmemory", op, kv.ErrFull)
	case word == "WRONGTYPE":
		return fmt.Errorf("rediskv: %s: %w: the key holds another Redis type than a string", op, kv.ErrWrongType)
	case strings.HasPrefix(text, "ERR max number of clients"):
		return fmt.Errorf("rediskv: %s: %w: Redis has too many clients", op, kv.ErrUnavailable)
	}
	return fmt.Errorf("rediskv: %s: Redis answered: %s", op, unquoted(text))
}

// unquoted cuts a message where it begins to quote: what follows may be data.
func unquoted(text string) string {
	if i := strings.IndexAny(text, "\"'`"); i >= 0 {
		text = text[:i] + "…"
	}
	return text
}
