package client

import (
	"context"
	"net/http"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
)

// Confirmable is what is left to confirm of something that cannot be undone: call again with the
// confirmation, once somebody has read the warning.
type Confirmable struct {
	Changed      bool       `json:"changed"`                // by this call
	Warning      string     `json:"warning,omitempty"`      // what it means and what is not known, for people
	Confirmation string     `json:"confirmation,omitempty"` // empty where nothing is left to confirm
	ExpiresAt    *time.Time `json:"expiresAt,omitempty"`
}

// Confirm confirms a change that cannot be undone. The zero Confirm changes nothing.
type Confirm struct {
	Confirmation string // of an earlier call's Confirmable
	Reason       string // for the audit log: incident, personnel, policy, schedule or other; may be empty
}

// KeyName names one key of a tenant.
type KeyName struct {
	Tenant string
	Use    string // cache, service, field or file
	Class  classify.Class
	ID     string // 64 hexadecimal digits
}

// KeyRetirement is a key that is disabled or destroyed, or will be when that is confirmed.
type KeyRetirement struct {
	Tenant string `json:"tenant"`
	Use    string `json:"use"`
	Class  string `json:"class"`
	KeyID  string `json:"keyId"`
	State  string `json:"state"` // now
	Confirmable
}

// Shredding is a tenant that is shredded, or will be when that is confirmed.
type Shredding struct {
	Tenant   string     `json:"tenant"`
	Shredded bool       `json:"shredded"` // now
	Keys     []LostKeys `json:"keys"`
	Confirmable
}

// LostKeys are the keys of a use and class that a shredding destroys.
type LostKeys struct {
	Use      string    `json:"use"`
	Class    string    `json:"class"`
	Keys     int       `json:"keys"`
	OldestAt time.Time `json:"oldestAt"`
	NewestAt time.Time `json:"newestAt"`
}

// DisableKey disables a former key of packages, files or fields: from then on it opens nothing, and it is
// never enabled again. It takes two calls. The first, with a zero Confirm, changes nothing and returns
// a confirmation, which is valid for ten minutes and while the tenant's keysets do not change. The second,
// with that confirmation, disables the key. A key that is still needed is refused with the code key_unusable
// and the reason. The token must be an operator's, with the scope keys:admin.
func (c *Client) DisableKey(ctx context.Context, key KeyName, confirm Confirm) (KeyRetirement, error) {
	return c.retire(ctx, "/v1/keys:disable", key, confirm)
}

// DestroyKey destroys a disabled or compromised key for good. Like DisableKey it takes two calls.
func (c *Client) DestroyKey(ctx context.Context, key KeyName, confirm Confirm) (KeyRetirement, error) {
	return c.retire(ctx, "/v1/keys:destroy", key, confirm)
}

func (c *Client) retire(ctx context.Context, path string, key KeyName, confirm Confirm) (now KeyRetirement, err error) {
	body := retireJSON{key.Tenant, key.Use, key.Class.String(), key.ID, confirm.Reason, confirm.Confirmation}
	err = c.send(ctx, newRequest(http.MethodPost, path).withJSON(body), decode(&now))
	return now, err
}

// ShredTenant destroys a tenant's keys, and with them its data, for good. Like DisableKey it takes two calls,
// the second of which takes some seconds: when it returns, every server that reaches the keysets refuses the
// tenant's data.
func (c *Client) ShredTenant(ctx context.Context, tenant string, confirm Confirm) (now Shredding, err error) {
	body := shredJSON{tenant, confirm.Reason, confirm.Confirmation}
	err = c.send(ctx, newRequest(http.MethodPost, "/v1/keys:shred").withJSON(body), decode(&now))
	return now, err
}

type retireJSON struct {
	Tenant  string `json:"tenant"`
	Use     string `json:"use"`
	Class   string `json:"class"`
	Key     string `json:"key"`
	Reason  string `json:"reason,omitempty"`
	Confirm string `json:"confirm,omitempty"`
}

type shredJSON struct {
	Tenant  string `json:"tenant"`
	Reason  string `json:"reason,omitempty"`
	Confirm string `json:"confirm,omitempty"`
}
