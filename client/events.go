package client

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// Event is a line of the audit log. It holds no value; names and contexts are keyed hashes, except for those
// keys of contexts that the operator allows.
type Event struct {
	Chain         uint32            `json:"chain"` // each process writes a chain of its own
	Seq           uint64            `json:"seq"`   // the number in the chain
	Time          time.Time         `json:"time"`
	Severity      string            `json:"severity"` // info, notice, warning or critical
	Action        string            `json:"action"`   // such as key.open
	Outcome       string            `json:"outcome"`  // ok, refused, failed or unknown
	Code          string            `json:"code,omitempty"`
	RequestID     string            `json:"requestId,omitempty"`
	Operation     string            `json:"operation,omitempty"`
	Issuer        string            `json:"issuer,omitempty"`
	Subject       string            `json:"subject,omitempty"`
	Tenant        string            `json:"tenant,omitempty"`
	Class         string            `json:"class,omitempty"`
	KeyID         string            `json:"keyId,omitempty"`
	NameHash      string            `json:"nameHash,omitempty"`
	Context       map[string]string `json:"context,omitempty"`
	ContextHashes []string          `json:"contextHashes,omitempty"`
	Facts         map[string]string `json:"facts,omitempty"`
	Of            string            `json:"of,omitempty"` // where the line was that this one keeps beyond retention
	MAC           string            `json:"mac"`          // chains the line to the one before
}

// EventHead names the last lines of the audit log that are known to be on disk. Kept elsewhere, it shows later
// whether anything up to them was changed.
type EventHead struct {
	Head string    `json:"head"` // CHAIN:SEQ:MAC of each chain, separated by commas
	Time time.Time `json:"time"`
}

// EventFilter says which events are wanted; the zero value is all of them.
type EventFilter struct {
	Tenant   string // and of no other; empty: of what the token may see
	Action   string // such as key.open, or what several begin with, such as key.
	Severity string // the least
	Class    string
	Since    time.Time
}

type eventPage struct {
	Events []Event `json:"events"`
	Cursor string  `json:"cursor,omitempty"`
}

// Events yields events of the audit log, newest first: those of the token's tenant, or all of them for an
// operator's token. It ends after an error. The token needs the scope audit:read.
func (c *Client) Events(ctx context.Context, filter EventFilter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for cursor := ""; ; {
			r := newRequest(http.MethodGet, "/v1/audit")
			for name, value := range map[string]string{
				"tenant": filter.Tenant, "action": filter.Action, "severity": filter.Severity, "class": filter.Class, "cursor": cursor,
			} {
				if value != "" {
					r.query.Set(name, value)
				}
			}
			if !filter.Since.IsZero() {
				r.query.Set("since", filter.Since.UTC().Format(time.RFC3339Nano))
			}
			var page eventPage
			if err := c.send(ctx, r, decode(&page)); err != nil {
				yield(Event{}, err)
				return
			}
			for _, one := range page.Events {
				if !yield(one, nil) {
					return
				}
			}
			if cursor = page.Cursor; cursor == "" {
				return
			}
		}
	}
}

// EventHead returns the head of the audit log. The token needs the scope audit:read.
func (c *Client) EventHead(ctx context.Context) (head EventHead, err error) {
	return head, c.send(ctx, newRequest(http.MethodGet, "/v1/audit/head"), decode(&head))
}
