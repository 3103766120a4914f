package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// call is a request with what is known of it so far.
type call struct {
	echo.Context
	server    *server
	requestID string
	operation *operation // nil for what is none of the document's
	id        identity.Identity
	tenant    *tenant
	class     classify.Class // of the value that it is about
	free      int            // bytes that it may still hold uncounted
	held      int64          // bytes that are counted
	borrowed  int64          // bytes that are counted for one of a batch
	rooms     []*[]byte      // that it was given
	limited   context.Context
	refusals  []refusal
	paused    bool // its refusal was delayed
	reading   bool // its body is being read
	received  bool // its body was read to its end
}

// callOf gives what observe put in the place of Echo's own context.
func callOf(c echo.Context) *call { return c.(*call) }

// name is the operation's id.
func (c *call) name() string {
	if c.operation == nil {
		return ""
	}
	return c.operation.OperationID
}

// limit bounds what the store and the keys may take for a request. It goes on if it has begun, and begins again after a body
// was read that took more than 1 % of it, which is the client's time.
func (c *call) limit(timeout time.Duration) (context.Context, context.CancelFunc) {
	if c.limited != nil {
		return c.limited, func() {}
	}
	ctx, cancel := context.WithTimeout(context.WithValue(c.Request().Context(), callKey{}, c), timeout)
	c.limited = ctx
	return ctx, cancel
}

// event begins an event about the call.
func (c *call) event(action audit.Action) audit.Event {
	return audit.Event{
		Action: action, RequestID: c.requestID, Operation: c.name(), Issuer: c.id.Issuer, Subject: c.id.Subject, Tenant: c.id.Tenant,
	}
}

// by names who sent the call, and why, for what others do on its order.
func (c *call) by(f *fields) (rotation.Requester, error) {
	reason, err := audit.ParseReason(f.text("reason"))
	return rotation.Requester{Issuer: c.id.Issuer, Subject: c.id.Subject, RequestID: c.requestID, Reason: reason}, err
}

// use is a use of a key.
type use struct {
	action  audit.Action
	class   classify.Class
	keyID   format.KeyID
	name    string
	context map[string]string
	err     error
}

// record says in the audit log and in the metrics that a key was used, before the result of it goes anywhere.
// It returns the use's own error, or that it could not be recorded.
func (s *server) record(c *call, u use) error {
	uses := []use{u}
	s.recordAll(c, uses)
	return uses[0].err
}

// recordAll records uses together. Where that fails, it is the error of each.
func (s *server) recordAll(c *call, uses []use) {
	if s.unencrypted {
		return // no key was used
	}
	events := make([]audit.Event, 0, len(uses))
	for i := range uses {
		if u := &uses[i]; !u.unasked() {
			events = append(events, u.event(c))
		}
	}
	err := s.recordEvents(c, events)
	for i := range uses {
		switch u := &uses[i]; {
		case u.unasked():
		case err != nil:
			u.err = err
		case u.err != nil:
		case u.action == audit.KeySeal:
			s.metrics.Sealed(u.class)
		case u.action == audit.KeyOpen:
			s.metrics.Opened(u.class)
		}
	}
}

// unasked reports that no key was asked for: a class, a time or a size is not allowed.
func (u *use) unasked() bool { return u.action == audit.KeySeal && u.err != nil && clientsFault(u.err) }

func (u *use) event(c *call) audit.Event {
	e := c.event(u.action)
	e.Class, e.KeyID, e.Name, e.Context = u.class, u.keyID, u.name, u.context
	if u.err != nil {
		e.Code = codes.Of(u.err).Code
	}
	return e
}

// recordUnsound records that the store returned something under a name that was not written there, if err says so, and returns
// the error to answer. Nothing was opened.
func (s *server) recordUnsound(c *call, action audit.Action, name string, err error) error {
	if !errors.Is(err, envelope.ErrAuthentication) && !errors.Is(err, envelope.ErrUnknownKey) {
		return err
	}
	return s.record(c, use{action: action, name: name, err: err})
}

// recordEvents records events, if there are any.
func (s *server) recordEvents(c *call, events []audit.Event) error {
	if len(events) == 0 {
		return nil
	}
	return s.audit.Record(c.Request().Context(), events...)
}

// clientsFault tells a request that is not allowed from a key that may not be used.
func clientsFault(err error) bool {
	status := codes.Of(err).Status
	return status < http.StatusInternalServerError && status != http.StatusConflict
}
