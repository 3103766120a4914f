package api

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// confirmJSON is what is left to confirm, if anything is.
type confirmJSON struct {
	Warning      string `json:"warning,omitempty"`
	Confirmation string `json:"confirmation,omitempty"`
	ExpiresAt    string `json:"expiresAt,omitempty"`
}

// retiredJSON is a key that is ended, or will be when it is confirmed.
type retiredJSON struct {
	Tenant  string `json:"tenant"`
	Use     string `json:"use"`
	Class   string `json:"class"`
	KeyID   string `json:"keyId"`
	State   string `json:"state"`
	Changed bool   `json:"changed"`
	confirmJSON
}

// shreddedJSON is a tenant that is shredded, or will be when it is confirmed.
type shreddedJSON struct {
	Tenant   string     `json:"tenant"`
	Shredded bool       `json:"shredded"`
	Changed  bool       `json:"changed"`
	Keys     []lostJSON `json:"keys"`
	confirmJSON
}

type lostJSON struct {
	Use      string `json:"use"`
	Class    string `json:"class"`
	Keys     int    `json:"keys"`
	OldestAt string `json:"oldestAt"`
	NewestAt string `json:"newestAt"`
}

func (s *server) disableKey(c *call) error { return s.retireKey(c, envelope.Disabled) }
func (s *server) destroyKey(c *call) error { return s.retireKey(c, envelope.Destroyed) }

// retireKey says what ending a key means and what has to be confirmed, or, where that is, ends it. A request
// does not go through a cache, so keys of the cache are refused.
func (s *server) retireKey(c *call, to envelope.State) error {
	f, err := s.changeOf(c, []string{"tenant", "use", "class", "key"}, "reason", "confirm")
	if err != nil {
		return err
	}
	reason, err := audit.ParseReason(f.text("reason"))
	if err != nil {
		return err
	}
	tenant, err := s.ended(c, f)
	if err != nil {
		return err
	}
	key, err := keyOf(tenant, f)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	e := c.event(audit.KeyDestroy)
	if to == envelope.Disabled {
		e = c.event(audit.KeyDisable)
	}
	e.Tenant, e.Class, e.KeyID, e.Facts = tenant, key.Class, key.ID, audit.Facts{audit.FactUse: key.Use.String()}.With(reason)
	keys := lifecycle.New(lifecycle.Options{Rotator: s.rotator, Audit: asked{s, c}, Operation: c.name(), Reason: reason})
	plan, err := keys.Prepare(ctx, key, to)
	if err != nil {
		return s.unended(c, f, e, err)
	}
	answer := retiredJSON{
		Tenant: tenant, Use: key.Use.String(), Class: key.Class.String(), KeyID: hex.EncodeToString(key.ID[:]), State: plan.From.String(),
	}
	if plan.Done() {
		err = plan.Apply(ctx) // which records it
	} else {
		about := strings.Join([]string{answer.Use, answer.Class, answer.KeyID}, " ")
		answer.Changed, answer.confirmJSON, err = confirm(c, f, about, plan.Document, plan.Warning(), func() error { return plan.Apply(ctx) })
	}
	if err != nil {
		return s.unended(c, f, e, err)
	}
	if answer.Changed {
		answer.State = to.String()
	}
	return answerJSON(c, http.StatusOK, answer)
}

const shredWarning = "Nothing that was sealed under the tenant's keys opens again, and its id cannot be used again. What survives: files that carry their own key, copies in the " +
	"clear, public values, and backups of the keysets that were made before, which honour the shredding where its tombstone or the audit log is. " +
	"Cache entries stay, unreadable, until their time is over; how many there are was not counted."

// shredTenant says what shredding a tenant destroys and what has to be confirmed, or, where that is, does it,
// and answers when every server has seen it.
func (s *server) shredTenant(c *call) error {
	f, err := s.changeOf(c, []string{"tenant"}, "reason", "confirm")
	if err != nil {
		return err
	}
	reason, err := audit.ParseReason(f.text("reason"))
	if err != nil {
		return err
	}
	tenant, err := s.ended(c, f)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	e := c.event(audit.TenantShred)
	e.Tenant, e.Facts = tenant, audit.Facts(nil).With(reason)
	d, err := s.ring.Document(ctx, tenant)
	if err != nil {
		return s.unended(c, f, e, err)
	}
	answer := shreddedJSON{Tenant: tenant, Shredded: d.Shredded(), Keys: []lostJSON{}}
	for _, k := range recovery.PreviewShred(d) {
		answer.Keys = append(answer.Keys, lostJSON{
			k.Use.String(), k.Class.String(), k.Keys, formatTime(k.Oldest.UnixMilli()), formatTime(k.Newest.UnixMilli()),
		})
	}
	if answer.Shredded {
		err = s.shred(ctx, c, tenant, reason) // which records it
	} else {
		answer.Changed, answer.confirmJSON, err = confirm(c, f, "", d, shredWarning, func() error {
			err := s.shred(ctx, c, tenant, reason)
			if err == nil {
				recovery.WaitForPropagation(c.Request().Context())
			}
			return err
		})
	}
	if err != nil {
		return s.unended(c, f, e, err)
	}
	answer.Shredded = answer.Shredded || answer.Changed
	return answerJSON(c, http.StatusOK, answer)
}

// unended records why keys were not ended, where that was confirmed: the look before changes nothing, and a
// confirmation that does not hold begins nothing.
func (s *server) unended(c *call, f *fields, e audit.Event, err error) error {
	if !f.has("confirm") || errors.Is(err, errConfirm) {
		return err
	}
	return s.failed(c, e, err)
}

func (s *server) shred(ctx context.Context, c *call, tenant string, reason audit.Reason) error {
	return (&recovery.Recovery{Keyring: s.ring, Audit: asked{s, c}, Operation: c.name(), Reason: reason}).Shred(ctx, tenant)
}

// confirm does something where the request confirms it, and else gives what has to be.
func confirm(c *call, f *fields, about string, d *envelope.Document, warning string, do func() error) (done bool, left confirmJSON, err error) {
	now := time.Now()
	if f.has("confirm") {
		if err = checkConfirmation(f.text("confirm"), c.name(), about, d, now); err == nil {
			err = do()
		}
		return err == nil, left, err
	}
	left = confirmJSON{Warning: warning, ExpiresAt: formatTime(now.Truncate(time.Second).Add(confirmFor).UnixMilli())}
	left.Confirmation, err = confirmation(c.name(), about, d, now)
	return false, left, err
}

// keyOf reads which key is meant.
func keyOf(tenant string, f *fields) (key lifecycle.Key, err error) {
	key.Tenant = tenant
	if key.Use, err = format.ParseUse(f.text("use")); err != nil {
		return key, invalid("the use is cache, service, field or file")
	}
	if key.Class = f.class("class"); f.err != nil {
		return key, f.err
	}
	id, err := hex.DecodeString(f.text("key"))
	if err != nil || len(id) != len(key.ID) {
		return key, invalid("the key is its id, 64 hexadecimal digits")
	}
	copy(key.ID[:], id)
	return key, nil
}
