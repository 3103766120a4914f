// Package audit writes and verifies a tamper-evident audit log. The log records each use of a key with its caller and
// record, refused requests, packages that failed authentication, and administrative changes.
//
// A program opens a log with [Open], records events with [Recorder.Record], and closes it. [Verify] checks a whole log,
// [ReadVerified] returns its events to a program that must rely on them, and [Reader] and [Tail] show events to people.
// The log is a directory of files of JSON lines that are only ever appended to.
//
// The package guarantees:
//
//   - Confidentiality: no value, record name or context value is written in clear text. An [Event] has no field for a
//     value. Record names and contexts, which contain patients' ids, are written as keyed hashes, except for the
//     context keys in Options.PlainContext.
//   - Durability: when [Recorder.Record] returns nil, the operating system has the whole event, and the event is on the
//     disk if the [SyncPolicy] requires it. If Record returns an error, the caller must not release the result of the
//     operation.
//   - Crash safety: after a kill at any point the log still verifies. A line that was cut short stays at the end of its
//     file, and the next process begins another file.
//
// Do the cryptography first, then record the event, and only then release the result to the client or the store.
//
// # Chains and heads
//
// Each process that writes to a log holds a lock on two chains of its own: one for events that retention never deletes,
// and one for all others. Each line has a sequence number and a MAC. The MAC covers the MAC of the line before and the
// bytes of the line itself. A file beside the chains, their head, names the last lines that are known to be on the
// disk. It is at most about one second behind. Another file lists all chains of the log.
//
// Verify finds:
//
//   - If an attacker can write to the disk but does not have the key: every line that was changed, removed, inserted or
//     moved, and every end that was cut off or rewritten, up to the head. It does not find lines after the head that
//     were cut off while no process ran, or a chain that was restored to an earlier state together with its head.
//     Comparing with a copy of the head that is kept elsewhere finds these too.
//   - If an attacker has the key, for example an intruder in the server: every change before a head that is kept
//     elsewhere.
//
// Verify cannot find an event that the server never recorded.
package audit

import (
	"context"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

// ErrUnavailable reports that an event could not be recorded in time. It may still be written later.
var ErrUnavailable = &codes.Error{ErrorCode: "audit_unavailable", Message: "the audit log cannot be written"}

// Recorder records events. It is safe for concurrent use.
type Recorder interface {
	// Record records all events. It returns an error that wraps ErrUnavailable if they could not be recorded; the
	// operation that they describe must then be refused. Some of them may have been written nevertheless. Record
	// returns within a bounded time.
	Record(ctx context.Context, events ...Event) error
}

// Discard is a Recorder that ignores all events, for tests and benchmarks.
var Discard Recorder = discard{}

type discard struct{}

// Record implements Recorder.
func (discard) Record(context.Context, ...Event) error { return nil }

// Event describes one operation for an auditor. Fields that do not apply stay zero.
type Event struct {
	Action    Action
	Code      string // why the operation failed, a code of package codes; empty if it succeeded
	RequestID string
	Operation string // the operation's id in the OpenAPI document, or the name of the command
	Issuer    string // the identity provider that authenticated Subject
	Subject   string // the id of the API token that was used, created or revoked, or the identity provider's subject
	Tenant    string
	Class     classify.Class
	KeyID     format.KeyID      // the key that was used or changed
	Name      string            // name of the record; only its keyed hash is written
	Context   map[string]string // context of the record; hashed, except for the keys in Options.PlainContext
	Facts     Facts             // details of an administrative action
	Unknown   bool              // Code reports an error after which it is not known whether the change took effect
	lost      uint64            // for auditResumed: number of events that may be missing from the log
}

// Facts are details of an action besides its actor, tenant and key. Each value has at most 255 bytes, that of FactFrom
// 2,112; longer values are truncated. Values are written in clear text, so they must not be secret or come from a
// record.
type Facts map[Fact]string

// Fact is the name of a detail.
type Fact string

// The facts. Their names are part of the log's format and never change.
const (
	FactJob     Fact = "job"     // id of a job
	FactUse     Fact = "use"     // use of a keyset
	FactReason  Fact = "reason"  // why an operator asked for the change: a [Reason]
	FactFrom    Fact = "from"    // the former value, such as a key id or the URL of a KEK
	FactTo      Fact = "to"      // the new value
	FactDone    Fact = "done"    // number of items that succeeded
	FactFailed  Fact = "failed"  // number of items that failed
	FactScopes  Fact = "scopes"  // scopes of a token, separated by spaces
	FactExpires Fact = "expires" // when a token expires; "never" if it does not
	FactDigest  Fact = "digest"  // SHA-256 of a token's record, which contains a hash of the token
	FactState   Fact = "state"   // why a token's document in the keystore is not as it was written: altered, returned or missing
	FactPhase   Fact = "phase"   // step of an operation that has several events: one of the phases below
	FactClient  Fact = "client"  // network address of the client whose request was refused
)

// The values of FactPhase.
const (
	PhaseAsked   = "asked"   // an operator requested the change; each key that changes then has an event of its own
	PhaseBegin   = "begin"   // the operation is about to begin
	PhaseFinish  = "finish"  // the last step of the operation is about to begin
	PhaseEnd     = "end"     // the operation ended; FactDone and FactFailed have the counts
	phaseAlready = "already" // the requested change was already in effect
)

// Action identifies what was done. Only this package creates actions, so input from a client can never become one.
type Action struct {
	name string
	kind kind
}

type kind uint8

const (
	ordinary kind = iota // frequent; not recorded for public and internal data unless it failed
	session              // as frequent, but always recorded
	notable              // administration
	lasting              // kept after retention: a restore must not bring back destroyed keys, and an alteration stays on record
)

// The actions. Their names are part of the log's format and never change.
var (
	KeySeal        = newAction("key.seal", ordinary)       // a value was sealed
	KeyOpen        = newAction("key.open", ordinary)       // a value was opened, or could not be opened
	AccessRefused  = newAction("access.refused", notable)  // a request was refused because of its token, its scopes or its rate
	EntryRead      = newAction("entry.read", ordinary)     // a package or its description was read, but not its value
	EntryList      = newAction("entry.list", ordinary)     // names of entries were listed
	EntryExpire    = newAction("entry.expire", ordinary)   // the time to live of an entry is about to be changed
	EntryDelete    = newAction("entry.delete", ordinary)   // an entry is about to be deleted
	SessionCreate  = newAction("session.create", session)  // a session was created
	SessionExtend  = newAction("session.extend", session)  // a session was extended
	SessionEnd     = newAction("session.end", session)     // a session was ended
	KeyRotate      = newAction("key.rotate", notable)      // a new key became primary
	KeyRollback    = newAction("key.rollback", notable)    // a former key became primary again
	KeyDisable     = newAction("key.disable", notable)     // a key was disabled
	KeyCompromised = newAction("key.compromised", notable) // a key was marked compromised
	KeyDestroy     = newAction("key.destroy", lasting)     // a key was destroyed
	KeyUnknown     = newAction("key.unknown", notable)     // a scan found entries under keys that are in no keyset of their tenant
	KeysetLost     = newAction("keyset.lost", notable)     // a keyset, or changes to one, vanished from the keystore while a server had it in memory
	KeysetRestored = newAction("keyset.restored", notable) // a server wrote a vanished keyset to the keystore again
	KeysetUnopened = newAction("keyset.unopened", notable) // a keyset in the keystore is damaged, was altered, or is under a KEK that is not configured
	KEKRewrap      = newAction("kek.rewrap", notable)      // roots of tenants are about to be wrapped by another KEK, or the slots of a former KEK retired
	TenantShred    = newAction("tenant.shred", lasting)    // a tenant is about to be shredded
	BackupCreate   = newAction("backup.create", notable)   // a backup was made
	BackupRestore  = newAction("backup.restore", notable)  // a backup is about to be restored
	BackupDrill    = newAction("backup.drill", notable)    // a backup was opened to check that it can be restored
	TokenCreate    = newAction("token.create", notable)    // an API token was created
	TokenRevoke    = newAction("token.revoke", notable)    // an API token was revoked
	TokenAltered   = newAction("token.altered", notable)   // an API token in the keystore is not as it was written
	ServerStart    = newAction("server.start", notable)    // a server started, with its configuration
	ServerStop     = newAction("server.stop", notable)     // a server shut down in order
	LogBegun       = newAction("audit.begun", lasting)     // an operator began a new log because the former one was lost
	auditResumed   = newAction("audit.resumed", notable)   // the log can be written again after a failure
	auditAltered   = newAction("audit.altered", lasting)   // lines that were written are missing or changed
	auditPruned    = newAction("audit.pruned", notable)    // retention is about to delete a file of the log
)

var actions []string

func newAction(name string, kind kind) Action {
	actions = append(actions, name)
	return Action{name, kind}
}

// String returns the action's name.
func (a Action) String() string { return a.name }

// Severity is how urgently an operator should look at an event.
type Severity string

// The severities, from the lowest to the highest.
const (
	Info     Severity = "info"     // ordinary use
	Notice   Severity = "notice"   // administration
	Warning  Severity = "warning"  // an operation was refused or failed
	Critical Severity = "critical" // a package was altered, moved or forged, a key is compromised, or keys were lost: investigate at once
)

// Severity returns the severity of the event, which depends only on its action and code.
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
