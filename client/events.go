package client

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// Event is a line of the audit log. It contains no value. Names and contexts are keyed hashes, except for the entries of contexts
// that the operator allows.
type Event struct {
	Chain         uint32            `json:"chain"` // each process writes its own chain
	Seq           uint64            `json:"seq"`   // number of the line in its chain
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
	Of            string            `json:"of,omitempty"` // position of the line that this line preserves beyond retention
	MAC           string            `json:"mac"`          // authenticates the line and the one before it
}

// EventHead identifies the last lines of the audit log that are known to be on disk. Keep it elsewhere to find out later whether
// the log was changed up to these lines.
type EventHead struct {
	Head string    `json:"head"` // CHAIN:SEQ:MAC of each chain, separated by commas
	Time time.Time `json:"time"`
}

// EventFilter selects events. The zero value selects all of them.
type EventFilter struct {
	Tenant   string // empty means every tenant that the token can read
	Action   string // such as key.open, or the start of several actions, such as key.
	Severity string // the lowest severity
	Class    string
	Since    time.Time
}

type eventPage struct {
	Events []Event `json:"events"`
	Cursor string  `json:"cursor,omitempty"`
}

// Events yields events of the audit log, newest first: the events of the token's tenant, or all events for an operator's token. The
// iteration ends after an error. The token needs the scope audit:read.
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
