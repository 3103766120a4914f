// Package audit records who used which key for what, who was refused, what failed its authentication and what
// was administered: one JSON object a line, in a file that is only ever appended to.
//
// It guarantees that no value, name or context comes into the log: an [Event] has no place for a value; the
// name of a record and its context, which hold patients' ids, are written as keyed hashes, but for contexts
// that the operator allows. What [Recorder.Record] returned nil for has been handed to the operating system
// whole, and is on the disk where the [Sync] policy says so. Whoever gets an error must not hand out what the
// event is about.
//
// The order to keep is: do the cryptography, record that the key was used, and only then let the result
// leave, to the client or to the store.
//
// Each process writes two chains of its own, which it holds under a lock for as long as it runs: one has the events that
// outlive retention, the other one all others. Each line has a number, and a MAC over the MAC of the line before and its
// own bytes, under a key that is in the system document of the keysets. A file beside the chain, its head, names the last
// line that is known to be on the disk; it is a second behind at most. A list names all chains. [Verify] finds:
//
//   - if somebody can write to the disk and has no key: every line that was changed, removed, inserted or moved, and every
//     end that was cut off or written again, up to the head. It does not find lines after the head that were cut off while
//     no process ran, nor a chain that was put back to an earlier state together with its head. A head that was kept
//     elsewhere finds that.
//   - if somebody has the key, such as an intruder in the server: every change before a head that was kept elsewhere.
//
// An event that the server never recorded cannot be found.
//
// A kill at any point leaves a log that verifies: the remains of a line that it cut short are the end of their file, and
// the next process begins another file.
package audit

import (
	"context"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

// ErrUnavailable says that an event could not be recorded in time. It may yet be written.
var ErrUnavailable = &codes.Error{Of: "audit_unavailable", Text: "the audit log cannot be written"}

// Recorder records events. It is safe for concurrent use.
type Recorder interface {
	// Record records the events, all of them or none that counts as recorded. It returns an error that wraps
	// ErrUnavailable where the operation that they are about must be refused, and takes a bounded time.
	Record(ctx context.Context, events ...Event) error
}

// Discard is a Recorder that keeps nothing, for tests and benchmarks.
var Discard Recorder = discard{}

type discard struct{}

// Record implements Recorder.
func (discard) Record(context.Context, ...Event) error { return nil }

// Event is something that an auditor may ask for. Fields that do not apply stay zero.
type Event struct {
	Action    Action
	Code      string // of package codes' table: how it failed; empty where it did not
	RequestID string
	Operation string // the operation's id in the OpenAPI document, or the command
	Issuer    string // who vouches for the subject
	Subject   string // an API token's id, be it the one that is made or revoked, or a provider's subject
	Tenant    string
	Class     classify.Class
	KeyID     format.KeyID      // of the key that was used or administered
	Name      string            // of the record; only its hash is written
	Context   map[string]string // of the record; hashed, but for what is allowed
	Facts     Facts             // of administration
	Unknown   bool              // Code is an error after which it is not known whether the change took effect
	lost      uint64            // of auditResumed: events that may not be in the log
}

// Facts are what an action needs said beside who, whose and which key, each in at most 255 bytes, FactFrom in 2,112. They stand
// readable in the log: none may come from a record, and none is a secret.
type Facts map[Fact]string

// Fact is the name of one.
type Fact string

// The facts. Their names never change.
const (
	FactJob     Fact = "job"     // the id of a job
	FactUse     Fact = "use"     // of a keyset
	FactReason  Fact = "reason"  // why an operator asked for it: a [Reason]
	FactFrom    Fact = "from"    // the former one, such as a key id or a KEK's URL
	FactTo      Fact = "to"      // the new one
	FactDone    Fact = "done"    // how many were done
	FactFailed  Fact = "failed"  // how many failed
	FactScopes  Fact = "scopes"  // of a token, separated by spaces
	FactExpires Fact = "expires" // when a token ends, or never
	FactDigest  Fact = "digest"  // SHA-256 of a token's record, which holds a hash of the token
	FactState   Fact = "state"   // of a token's document in the keystore that is not as it was written: altered, returned or missing
	FactPhase   Fact = "phase"   // which step of an operation with several events: one of the phases below
	FactClient  Fact = "client"  // the address that a refused request came from
)

// The phases.
const (
	PhaseAsked   = "asked"   // somebody asked for it; each key that is then changed has an event of its own
	PhaseBegin   = "begin"   // it is about to begin
	PhaseFinish  = "finish"  // its last step is about to begin
	PhaseEnd     = "end"     // it ended, with FactDone and FactFailed
	phaseAlready = "already" // it was in effect when somebody asked for it
)

// Action is what was done. Only this package makes them, so that nothing a client sends can be one.
type Action struct {
	name string
	kind kind
}

type kind uint8

const (
	ordinary kind = iota // one of the many of a working day: of public and internal data it is not recorded
	session              // as frequent, but always recorded
	notable              // administration
	lasting              // outlives retention: a restore must never bring back what has ended, and an altered log stays altered
)

// The actions. Their names never change.
var (
	KeySeal        = newAction("key.seal", ordinary)       // a value was sealed
	KeyOpen        = newAction("key.open", ordinary)       // a value was opened, or failed to
	AccessRefused  = newAction("access.refused", notable)  // a request was refused for its token, its scopes or its rate
	EntryRead      = newAction("entry.read", ordinary)     // a package, or its description, was read, and its value was not
	EntryList      = newAction("entry.list", ordinary)     // names of entries were listed
	EntryExpire    = newAction("entry.expire", ordinary)   // how long an entry is kept is about to be changed
	EntryDelete    = newAction("entry.delete", ordinary)   // an entry is about to be deleted
	SessionCreate  = newAction("session.create", session)  // a session was made
	SessionExtend  = newAction("session.extend", session)  // a session was extended
	SessionEnd     = newAction("session.end", session)     // a session was ended
	KeyRotate      = newAction("key.rotate", notable)      // a new key became primary
	KeyRollback    = newAction("key.rollback", notable)    // a former key became primary again
	KeyDisable     = newAction("key.disable", notable)     // a key was disabled
	KeyCompromised = newAction("key.compromised", notable) // a key was marked compromised
	KeyDestroy     = newAction("key.destroy", lasting)     // a key was destroyed
	KeyUnknown     = newAction("key.unknown", notable)     // a scan found entries under keys that no keyset of their tenant has
	KeysetLost     = newAction("keyset.lost", notable)     // a keyset, or changes of one, vanished from the keystore while a server had it in memory
	KeysetRestored = newAction("keyset.restored", notable) // a server wrote what had vanished to the keystore again
	KeysetUnopened = newAction("keyset.unopened", notable) // a keyset in the keystore is damaged, was altered, or is under a KEK that is not configured
	KEKRewrap      = newAction("kek.rewrap", notable)      // tenants' roots are about to be wrapped by another KEK, or a former one's slots retired
	TenantShred    = newAction("tenant.shred", lasting)    // a tenant is about to be shredded
	BackupCreate   = newAction("backup.create", notable)   // a backup was made
	BackupRestore  = newAction("backup.restore", notable)  // a backup is about to be restored
	BackupDrill    = newAction("backup.drill", notable)    // a backup was opened to see that it opens
	TokenCreate    = newAction("token.create", notable)    // an API token was made
	TokenRevoke    = newAction("token.revoke", notable)    // an API token was revoked
	TokenAltered   = newAction("token.altered", notable)   // an API token in the keystore is not as it was written
	ServerStart    = newAction("server.start", notable)    // a server began, with its configuration
	ServerStop     = newAction("server.stop", notable)     // a server ended in order
	LogBegun       = newAction("audit.begun", lasting)     // an operator began another log, because the former one is gone
	auditResumed   = newAction("audit.resumed", notable)   // the log can be written again
	auditAltered   = newAction("audit.altered", lasting)   // lines that were written are missing or changed
	auditPruned    = newAction("audit.pruned", notable)    // a file of the log is about to be deleted, by configuration
)

var actions []string

func newAction(name string, kind kind) Action {
	actions = append(actions, name)
	return Action{name, kind}
}

// String returns the action's name.
func (a Action) String() string { return a.name }

// Severity is how soon somebody should look.
type Severity string

// The severities, from the least.
const (
	Info     Severity = "info"     // ordinary use
	Notice   Severity = "notice"   // administration
	Warning  Severity = "warning"  // refused, or failed
	Critical Severity = "critical" // a package was altered, moved or forged, a key is compromised, or keys were lost: find out by whom
)

// Severity follows from what happened, so that nobody decides it twice.
func (e *Event) Severity() Severity {
	switch {
	case e.Code == "authentication_failed" || e.Action == KeyCompromised || e.Action == KeysetLost || e.Action == KeysetUnopened || e.Action == KeyUnknown || e.Action == LogBegun || e.Action == auditAltered:
		return Critical
	case e.Code != "" || e.Action == AccessRefused:
		return Warning
	case e.Action.kind <= session:
		return Info
	}
	return Notice
}
