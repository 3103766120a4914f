package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

var (
	errNotOperator  = &codes.Error{ErrorCode: "forbidden", Message: "only an operator's token, of tenant *, disables or destroys keys and shreds tenants"}
	errConfirmation = &codes.Error{
		ErrorCode: "precondition_failed", Message: "the confirmation is older than ten minutes, or is not for this change of the current keysets; " +
			"send the request without a confirmation again; nothing was changed",
	}
)

// confirmationJSON is what a client must send to confirm a change. It is empty if nothing is left to confirm.
type confirmationJSON struct {
	Warning      string `json:"warning,omitempty"`
	Confirmation string `json:"confirmation,omitempty"`
	ExpiresAt    string `json:"expiresAt,omitempty"`
}

// retirementJSON is a key that is disabled or destroyed, or that will be if the client confirms it.
type retirementJSON struct {
	Tenant  string `json:"tenant"`
	Use     string `json:"use"`
	Class   string `json:"class"`
	KeyID   string `json:"keyId"`
	State   string `json:"state"`
	Changed bool   `json:"changed"`
	confirmationJSON
}

// shreddingJSON is a tenant that is shredded, or that will be if the client confirms it.
type shreddingJSON struct {
	Tenant   string         `json:"tenant"`
	Shredded bool           `json:"shredded"`
	Changed  bool           `json:"changed"`
	Keys     []lostKeysJSON `json:"keys"`
	confirmationJSON
}

// lostKeysJSON counts the keys of one use and class that a shredding destroys.
type lostKeysJSON struct {
	Use      string `json:"use"`
	Class    string `json:"class"`
	Keys     int    `json:"keys"`
	OldestAt string `json:"oldestAt"`
	NewestAt string `json:"newestAt"`
}

// operatorTenant returns the tenant that a request names. Only an operator may send the request.
func (s *server) operatorTenant(c *call, named *string) (string, error) {
	if c.id.Tenant != identity.EveryTenant {
		return "", c.refuse(errNotOperator)
	}
	return s.changedTenant(c, named)
}

func (s *server) disableKey(c *call) error {
	return s.retireKey(c, audit.KeyDisable, envelope.Disabled)
}
func (s *server) destroyKey(c *call) error {
	return s.retireKey(c, audit.KeyDestroy, envelope.Destroyed)
}

// retireKey disables or destroys a key if the request confirms it. Otherwise it changes nothing and sends the consequences,
// with a confirmation. It refuses keys of the cache, which only rotations destroy.
func (s *server) retireKey(c *call, action audit.Action, to envelope.State) error {
	change, err := s.parseKeyChange(c, []string{"tenant", "use", "class", "key"}, "reason", "confirm")
	if err != nil {
		return err
	}
	key := change.key
	if key.Tenant, err = s.operatorTenant(c, change.tenant); err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	e := c.event(action)
	e.Tenant, e.Class, e.KeyID = key.Tenant, key.Class, key.ID
	e.Facts = audit.Facts{audit.FactUse: key.Use.String()}.With(change.reason)
	keys := lifecycle.New(lifecycle.Options{Rotator: s.rotator, Audit: attributedRecorder{s.audit, c}, Operation: c.operation(), Reason: change.reason})
	prepared, err := keys.Prepare(ctx, key, to)
	if err != nil {
		return s.recordConfirmedFailure(c, &change, e, err)
	}
	response := retirementJSON{
		Tenant: key.Tenant, Use: key.Use.String(), Class: key.Class.String(), KeyID: hex.EncodeToString(key.ID[:]), State: prepared.From.String(),
	}
	subject := strings.Join([]string{response.Use, response.Class, response.KeyID}, " ")
	switch {
	case prepared.Done():
		err = prepared.Apply(ctx) // records that the key has the state already
	case change.confirm == nil:
		response.confirmationJSON, err = newConfirmation(c, subject, prepared.Document, prepared.Warning())
	default:
		if err = checkConfirmation(*change.confirm, c.operation(), subject, prepared.Document, time.Now()); err == nil {
			err = prepared.Apply(ctx)
		}
		if err == nil {
			response.Changed, response.State = true, to.String()
		}
	}
	if err != nil {
		return s.recordConfirmedFailure(c, &change, e, err)
	}
	return writeJSON(c, http.StatusOK, response)
}

const shredWarning = "Nothing that was sealed under the tenant's keys opens again, and its id cannot be used again. These survive: files that carry their own key, " +
	"unencrypted copies, public values, and earlier backups of the keysets. A restore of such a backup shreds the tenant again if the tombstone or the audit log exists. " +
	"Cache entries stay, unreadable, until they expire; they were not counted."

// shredTenant destroys all keys of a tenant if the request confirms it. It then responds when every server has seen that.
// Otherwise it changes nothing and sends the consequences, with a confirmation.
func (s *server) shredTenant(c *call) error {
	change, err := s.parseKeyChange(c, []string{"tenant"}, "reason", "confirm")
	if err != nil {
		return err
	}
	tenant, err := s.operatorTenant(c, change.tenant)
	if err != nil {
		return err
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	e := c.event(audit.TenantShred)
	e.Tenant, e.Facts = tenant, audit.Facts(nil).With(change.reason)
	d, err := s.keyring.Document(ctx, tenant)
	if err != nil {
		return s.recordConfirmedFailure(c, &change, e, err)
	}
	response := shreddingJSON{Tenant: tenant, Shredded: d.Shredded(), Keys: []lostKeysJSON{}}
	for _, k := range recovery.PreviewShred(d) {
		response.Keys = append(response.Keys, lostKeysJSON{
			k.Use.String(), k.Class.String(), k.Keys, formatTime(k.Oldest.UnixMilli()), formatTime(k.Newest.UnixMilli()),
		})
	}
	shredder := &recovery.Recovery{Keyring: s.keyring, Audit: attributedRecorder{s.audit, c}, Operation: c.operation(), Reason: change.reason}
	switch {
	case response.Shredded:
		err = shredder.Shred(ctx, tenant) // records that the tenant is shredded already
	case change.confirm == nil:
		response.confirmationJSON, err = newConfirmation(c, "", d, shredWarning)
	default:
		if err = checkConfirmation(*change.confirm, c.operation(), "", d, time.Now()); err == nil {
			err = shredder.Shred(ctx, tenant)
		}
		if err == nil {
			recovery.WaitForPropagation(c.Request().Context())
			response.Shredded, response.Changed = true, true
		}
	}
	if err != nil {
		return s.recordConfirmedFailure(c, &change, e, err)
	}
	return writeJSON(c, http.StatusOK, response)
}

// recordConfirmedFailure records that a confirmed change failed with err. A request without a confirmation changes nothing,
// and one with a wrong confirmation starts nothing, so these are not recorded.
func (s *server) recordConfirmedFailure(c *call, change *keyChange, e audit.Event, err error) error {
	if change.confirm == nil || errors.Is(err, errConfirmation) {
		return err
	}
	return s.recordFailure(c, e, err)
}

// confirmationTTL is how long a confirmation is valid.
const confirmationTTL = 10 * time.Minute

// newConfirmation returns the confirmation of a change that the request does not confirm.
func newConfirmation(c *call, subject string, d *envelope.Document, warning string) (j confirmationJSON, err error) {
	now := time.Now()
	j = confirmationJSON{Warning: warning, ExpiresAt: formatTime(now.Truncate(time.Second).Add(confirmationTTL).UnixMilli())}
	j.Confirmation, err = confirmation(c.operation(), subject, d, now)
	return j, err
}

// confirmation returns a digest of what the client was shown: an operation, its subject, and the tenant's keysets. The digest
// is not a secret. It keeps people and programs from a change that they have not looked at, and the token keeps everybody
// else from it. So each server accepts the confirmations of the others, and no server stores one. A change of the keysets
// makes the confirmation invalid.
func confirmation(operation, subject string, d *envelope.Document, at time.Time) (string, error) {
	content, err := d.Append(nil)
	if err != nil {
		return "", err
	}
	second := strconv.FormatInt(at.Unix(), 10)
	h := sha256.New()
	for _, part := range []string{"coffer confirmation 1", operation, subject, second, string(content)} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return second + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil)), nil
}

// checkConfirmation returns errConfirmation for a confirmation of another operation, subject or document, and for one that is
// older than confirmationTTL.
func checkConfirmation(given, operation, subject string, d *envelope.Document, now time.Time) error {
	second, _, _ := strings.Cut(given, ".")
	unix, err := strconv.ParseInt(second, 10, 64)
	if err != nil || now.Sub(time.Unix(unix, 0)).Abs() > confirmationTTL {
		return errConfirmation
	}
	expected, err := confirmation(operation, subject, d, time.Unix(unix, 0))
	if err == nil && given != expected {
		err = errConfirmation
	}
	return err
}

// attributedRecorder records the events of other packages and adds who sent the request.
type attributedRecorder struct {
	audit.Recorder
	call *call
}

// Record implements audit.Recorder.
func (a attributedRecorder) Record(ctx context.Context, events ...audit.Event) error {
	for i := range events {
		events[i].RequestID, events[i].Issuer, events[i].Subject = a.call.requestID, a.call.id.Issuer, a.call.id.Subject
	}
	return a.Recorder.Record(ctx, events...)
}
