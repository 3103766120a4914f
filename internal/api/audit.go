package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// event returns an event with the caller, the tenant and the operation of the call.
func (c *call) event(action audit.Action) audit.Event {
	return audit.Event{
		Action: action, RequestID: c.requestID, Operation: c.operation(), Issuer: c.id.Issuer, Subject: c.id.Subject, Tenant: c.id.Tenant,
	}
}

// keyUse is one use of a key, or a change of an entry, for the audit log.
type keyUse struct {
	action  audit.Action
	class   classify.Class
	keyID   format.KeyID
	name    string
	context map[string]string
	err     error
}

// refusedBeforeKey reports whether the class, time to live or size of a value was refused before a key was needed.
func (u *keyUse) refusedBeforeKey() bool {
	return u.action == audit.KeySeal && u.err != nil && isClientFault(u.err)
}

func (u *keyUse) event(c *call) audit.Event {
	e := c.event(u.action)
	e.Class, e.KeyID, e.Name, e.Context = u.class, u.keyID, u.name, u.context
	if u.err != nil {
		e.Code = codes.Of(translate(u.err)).Code
	}
	return e
}

// recordUse records the use of a key in the audit log and in the metrics. It must be called before the result of the use is
// stored or sent. It returns the error of the use, or the error of the audit log.
func (s *server) recordUse(c *call, u keyUse) error {
	uses := []keyUse{u}
	s.recordUses(c, uses)
	return uses[0].err
}

// recordUses records many uses together. If the audit log fails, its error becomes the error of each use.
func (s *server) recordUses(c *call, uses []keyUse) {
	if s.unencrypted {
		return // no key was used
	}
	events := make([]audit.Event, 0, len(uses))
	for i := range uses {
		if u := &uses[i]; !u.refusedBeforeKey() {
			events = append(events, u.event(c))
		}
	}
	err := s.recordEvents(c, events...)
	for i := range uses {
		switch u := &uses[i]; {
		case u.refusedBeforeKey():
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

// recordForeign returns the error of an operation of the cache. If the error means that the store returned something that was
// not written under that name, recordForeign records it.
func (s *server) recordForeign(c *call, action audit.Action, name string, err error) error {
	if !errors.Is(err, envelope.ErrAuthentication) && !errors.Is(err, envelope.ErrUnknownKey) {
		return err
	}
	return s.recordUse(c, keyUse{action: action, name: name, err: err})
}

// recordFailure records that a change of keys was refused or failed with err, unless that is recorded already. It returns err
// or the error of the audit log.
func (s *server) recordFailure(c *call, e audit.Event, err error) error {
	if audit.IsAnnounced(err) {
		return err
	}
	e.Code = codes.Of(translate(err)).Code
	if e := s.recordEvents(c, e); e != nil {
		return e
	}
	return err
}

func (s *server) recordEvents(c *call, events ...audit.Event) error {
	if len(events) == 0 {
		return nil
	}
	return s.audit.Record(c.Request().Context(), events...)
}

// eventPageJSON is a page of the audit log.
type eventPageJSON struct {
	Events []audit.Entry `json:"events"`
	Cursor string        `json:"cursor,omitempty"`
}

// headJSON has the last lines of the audit log's chains that are known to be on disk.
type headJSON struct {
	Head string `json:"head"`
	Time string `json:"time"`
}

// listEvents sends a page of the audit log, newest first: the events of the token's tenant, or for an operator's token those of
// every tenant or of one.
func (s *server) listEvents(c *call) error {
	q, named, err := parseEventQuery(c)
	if err != nil {
		return err
	}
	if q.Tenant, err = c.administeredTenant(named); err != nil {
		return err
	}
	if q.Tenant == identity.EveryTenant {
		q.Tenant = ""
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	page, err := s.auditReader.Page(ctx, q)
	s.charge(c, page.Lines/linesPerCharge)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, eventPageJSON{append([]audit.Entry{}, page.Entries...), page.Next.String()})
}

// getEventHead sends the heads of the audit log, which an auditor keeps elsewhere.
func (s *server) getEventHead(c *call) error {
	if err := parseNoQuery(c); err != nil {
		return err
	}
	head, err := s.auditReader.Heads()
	if err != nil {
		return &notReadyError{code: "audit_unavailable", cause: err}
	}
	return writeJSON(c, http.StatusOK, headJSON{head.Heads.String(), formatTime(head.Time.UnixMilli())})
}

// alarmInterval is the shortest time between two log lines about the same kind of fault. The audit log has every event.
const alarmInterval = time.Second

// Alarm is an audit.Recorder that looks for events about altered, moved or forged packages, entries under unknown keys, and
// lost keysets. It logs them at level ERROR, with the tenant as the hash that the metrics use, and counts the packages and
// entries in the metrics. It is safe for concurrent use.
type Alarm struct {
	audit.Recorder
	metrics                                          *metrics.Metrics
	log                                              *slog.Logger
	altered, unopenedKeyset, unknown, lost, restored rate.Sometimes
}

// NewAlarm returns an Alarm that records with recorder. Everything that opens what the store returned must record with an
// Alarm.
func NewAlarm(recorder audit.Recorder, m *metrics.Metrics, log *slog.Logger) *Alarm {
	limited := func() rate.Sometimes { return rate.Sometimes{Interval: alarmInterval} }
	return &Alarm{Recorder: recorder, metrics: m, log: log, altered: limited(), unopenedKeyset: limited(), unknown: limited(), lost: limited(), restored: limited()}
}

// Record implements audit.Recorder.
func (a *Alarm) Record(ctx context.Context, events ...audit.Event) error {
	for i := range events {
		a.inspect(ctx, &events[i])
	}
	return a.Recorder.Record(ctx, events...)
}

// inspect raises the alarm if the event is a reason for it.
func (a *Alarm) inspect(ctx context.Context, e *audit.Event) {
	n := countEntries(e)
	switch {
	case e.Action == audit.KeysetUnopened:
		a.metrics.IntegrityFailed(0, 1)
		a.unopenedKeyset.Do(func() {
			a.raise(ctx, e, 1, "a keyset in the keystore does not open: if it was damaged or altered, restore it from a backup")
		})
	case e.Code == envelope.ErrAuthentication.Code():
		a.metrics.IntegrityFailed(e.Class, n)
		if isAboutStore(e) {
			a.altered.Do(func() {
				a.raise(ctx, e, n, "the store returned something that was altered, moved or forged: see the critical events of the audit log")
			})
		}
	case e.Action == audit.KeysetLost:
		a.lost.Do(func() {
			a.raise(ctx, e, n, "a keyset, or a change of one, is missing from the keystore: this server still has it in memory and writes it again; do not stop the server before that")
		})
	case e.Action == audit.KeyUnknown: // the scan of the store logs and counts these
	case e.Action == audit.KeysetRestored:
		a.restored.Do(func() {
			a.raise(ctx, e, n, "this server wrote a missing keyset to the keystore again: find out why it was missing")
		})
	case e.Code == envelope.ErrUnknownKey.Code() && isAboutStore(e):
		a.metrics.UnknownKey(n)
		a.unknown.Do(func() {
			a.raise(ctx, e, n, "entries are sealed under keys that their tenant's keyset does not have: if keysets were lost, restore them from a backup")
		})
	}
}

func (a *Alarm) raise(ctx context.Context, e *audit.Event, n int, text string) {
	attributes := []slog.Attr{slog.String("operation", e.Operation), slog.Int("entries", n)}
	if e.Class.Valid() {
		attributes = append(attributes, slog.String("class", e.Class.String()))
	}
	if e.RequestID != "" {
		attributes = append(attributes, slog.String("id", e.RequestID))
	}
	if e.Tenant != "" {
		attributes = append(attributes, slog.String("tenant", a.metrics.Tenant(e.Tenant)))
	}
	a.log.LogAttrs(ctx, slog.LevelError, text, attributes...)
}

// isAboutStore reports whether an event is about what the server's own store returned, and not about a package that a client
// sent.
func isAboutStore(e *audit.Event) bool {
	return e.Action != audit.AccessRefused && !strings.HasPrefix(e.Operation, "decrypt")
}

// countEntries returns the number of entries that an event is about.
func countEntries(e *audit.Event) int {
	if n, err := strconv.Atoi(e.Facts[audit.FactFailed]); err == nil && n > 0 {
		return n
	}
	return 1
}
