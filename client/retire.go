package client

import (
	"context"
	"net/http"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
)

// Confirmable is the result of a call that takes two steps. Show the warning to a person, and then call again with the
// confirmation.
type Confirmable struct {
	Changed      bool       `json:"changed"`                // whether this call made the change
	Warning      string     `json:"warning,omitempty"`      // consequences of the change, for people
	Confirmation string     `json:"confirmation,omitempty"` // empty if nothing is left to confirm
	ExpiresAt    *time.Time `json:"expiresAt,omitempty"`
}

// Confirm confirms a change that cannot be undone. The zero Confirm changes nothing.
type Confirm struct {
	Confirmation string // Confirmation of the result of the first call
	Reason       string // for the audit log: incident, personnel, policy, schedule or other; may be empty
}

// KeyName identifies one key of a tenant.
type KeyName struct {
	Tenant string
	Use    string // cache, service, field or file
	Class  classify.Class
	ID     string // 64 hexadecimal digits
}

// KeyRetirement is a key that is disabled or destroyed, or that will be when the change is confirmed.
type KeyRetirement struct {
	Tenant string `json:"tenant"`
	Use    string `json:"use"`
	Class  string `json:"class"`
	KeyID  string `json:"keyId"`
	State  string `json:"state"` // current state
	Confirmable
}

// Shredding is a tenant that is shredded, or that will be when the change is confirmed.
type Shredding struct {
	Tenant   string     `json:"tenant"`
	Shredded bool       `json:"shredded"` // current state
	Keys     []LostKeys `json:"keys"`
	Confirmable
}

// LostKeys counts the keys of one use and class that a shredding destroys.
type LostKeys struct {
	Use      string    `json:"use"`
	Class    string    `json:"class"`
	Keys     int       `json:"keys"`
	OldestAt time.Time `json:"oldestAt"`
	NewestAt time.Time `json:"newestAt"`
}

// DisableKey disables a former key of packages, files or fields. The key then opens nothing and cannot be enabled again. The
// change takes two calls. The first, with a zero Confirm, changes nothing and returns a confirmation, which is valid for ten
// minutes and until the tenant's keysets change. The second, with that confirmation, disables the key. A key that is still needed
// is refused with the code key_unusable and the reason. The token must be an operator's, with the scope keys:admin.
func (c *Client) DisableKey(ctx context.Context, key KeyName, confirm Confirm) (KeyRetirement, error) {
	return c.retire(ctx, "/v1/keys:disable", key, confirm)
}

// DestroyKey destroys a disabled or compromised key permanently. Like DisableKey it takes two calls.
func (c *Client) DestroyKey(ctx context.Context, key KeyName, confirm Confirm) (KeyRetirement, error) {
	return c.retire(ctx, "/v1/keys:destroy", key, confirm)
}

func (c *Client) retire(ctx context.Context, path string, key KeyName, confirm Confirm) (retirement KeyRetirement, err error) {
	body := retireJSON{key.Tenant, key.Use, key.Class.String(), key.ID, confirm.Reason, confirm.Confirmation}
	err = c.send(ctx, newRequest(http.MethodPost, path).withJSON(body), decode(&retirement))
	return retirement, err
}

// ShredTenant destroys a tenant's keys, and with them its data, permanently. Like DisableKey it takes two calls. The second takes
// some seconds: when it returns, every server that reaches the keysets refuses the tenant's data.
func (c *Client) ShredTenant(ctx context.Context, tenant string, confirm Confirm) (shredding Shredding, err error) {
	body := shredJSON{tenant, confirm.Reason, confirm.Confirmation}
	err = c.send(ctx, newRequest(http.MethodPost, "/v1/keys:shred").withJSON(body), decode(&shredding))
	return shredding, err
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
