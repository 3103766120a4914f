package api

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// alarmInterval is the least time between two lines of the server's log about one kind of fault. The audit log has every event.
const alarmInterval = time.Second

// Alarm is a recorder that raises the alarm about what its events report: something that was altered, moved or forged, entries
// under keys that no keyset has, and keysets that vanished. It counts the former two and logs all at ERROR, with the tenant as the hash
// that the metrics use.
type Alarm struct {
	audit.Recorder
	metrics                                    *metrics.Metrics
	log                                        *slog.Logger
	altered, unopened, unknown, lost, restored rate.Sometimes
}

// NewAlarm returns an Alarm that records with another recorder. All that opens what the store returned records with one.
func NewAlarm(recorder audit.Recorder, m *metrics.Metrics, log *slog.Logger) *Alarm {
	often := func() rate.Sometimes { return rate.Sometimes{Interval: alarmInterval} }
	return &Alarm{Recorder: recorder, metrics: m, log: log, altered: often(), unopened: often(), unknown: often(), lost: often(), restored: often()}
}

// Record implements audit.Recorder.
func (a *Alarm) Record(ctx context.Context, events ...audit.Event) error {
	for i := range events {
		a.watch(ctx, &events[i])
	}
	return a.Recorder.Record(ctx, events...)
}

func (a *Alarm) watch(ctx context.Context, e *audit.Event) {
	n := entriesOf(e)
	switch {
	case e.Action == audit.KeysetUnopened:
		a.metrics.IntegrityFailed(0, 1)
		a.unopened.Do(func() {
			a.raise(ctx, e, 1, "a keyset in the keystore does not open: if it was damaged or altered, restore it from a backup")
		})
	case e.Code == envelope.ErrAuthentication.Code():
		a.metrics.IntegrityFailed(e.Class, n)
		if stored(e) {
			a.altered.Do(func() {
				a.raise(ctx, e, n, "the store returned something that was altered, moved or forged: see the critical events of the audit log")
			})
		}
	case e.Action == audit.KeysetLost:
		a.lost.Do(func() {
			a.raise(ctx, e, n, "a keyset vanished from the keystore, or changes of one did: this server has it in memory and writes it again; do not stop it before")
		})
	case e.Action == audit.KeyUnknown: // the scan logs and counts what it finds
	case e.Action == audit.KeysetRestored:
		a.restored.Do(func() {
			a.raise(ctx, e, n, "this server wrote a keyset to the keystore again that had vanished: find out why it did")
		})
	case e.Code == envelope.ErrUnknownKey.Code() && stored(e):
		a.metrics.UnknownKey(n)
		a.unknown.Do(func() {
			a.raise(ctx, e, n, "entries are under keys that their tenant's keyset does not have: if keysets were lost, restore them from a backup")
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

// stored reports whether an event is about what the server's own store returned, and not about a package that a caller sent.
func stored(e *audit.Event) bool {
	return e.Action != audit.AccessRefused && !strings.HasPrefix(e.Operation, "decrypt")
}

// entriesOf returns how many entries an event is about.
func entriesOf(e *audit.Event) int {
	if n, err := strconv.Atoi(e.Facts[audit.FactFailed]); err == nil && n > 0 {
		return n
	}
	return 1
}
