package client

import (
	"context"
	"net/http"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
)

// Rotation is how far a tenant's last rotation has come. Counts are of entries of the cache.
type Rotation struct {
	Tenant      string            `json:"tenant"`
	ID          string            `json:"id"`
	State       string            `json:"state"`
	Compromised bool              `json:"compromised"`
	Keysets     []RotatedSet      `json:"keysets"`
	BegunAt     time.Time         `json:"begunAt"`
	RotatedAt   *time.Time        `json:"rotatedAt,omitempty"` // when all new primaries were made
	NextAt      *time.Time        `json:"nextAt,omitempty"`    // before then there is nothing to do
	EndedAt     *time.Time        `json:"endedAt,omitempty"`
	Total       int               `json:"total"`
	Scanned     int               `json:"scanned"`
	Reencrypted int               `json:"reencrypted"`
	Changed     int               `json:"changed"`
	Failed      int               `json:"failed"`
	Foreign     int               `json:"foreign"`
	Failures    []RotationFailure `json:"failures"`
}

// RotatedSet names a keyset that a rotation is of.
type RotatedSet struct {
	Use   string `json:"use"`
	Class string `json:"class"`
}

// RotationFailure is entries of one class and key that do not open. They stay as they are.
type RotationFailure struct {
	Class   string `json:"class"`
	KeyID   string `json:"keyId"`
	Code    string `json:"code"`
	Entries int    `json:"entries"`
}

type rotationsJSON struct {
	Rotations []Rotation `json:"rotations"`
}

// Order says which keys to rotate, and why. The zero Order is of all keys of the token's tenant.
type Order struct {
	Tenant      string         // an operator's token must name one
	Class       classify.Class // 0 means all classes
	Compromised bool           // the keys may have leaked: they never seal again, and there is no way back
	Reason      string         // for the audit log: incident, personnel, policy, schedule or other; may be empty
}

// Rotate makes new primary keys for a tenant, and its servers re-encrypt the cache under them. It is never retried, since a second request could rotate again. The token
// needs the scope keys:admin.
func (c *Client) Rotate(ctx context.Context, order Order) (begun Rotation, err error) {
	r := newRequest(http.MethodPost, "/v1/keys:rotate")
	r.once = true
	if order.Tenant != "" {
		r.query.Set("tenant", order.Tenant)
	}
	if order.Class != 0 {
		r.query.Set("class", order.Class.String())
	}
	if order.Compromised {
		r.query.Set("compromised", "true")
	}
	if order.Reason != "" {
		r.query.Set("reason", order.Reason)
	}
	err = c.send(ctx, r, decode(&begun))
	return begun, err
}

// Rollback makes the former keys of a tenant's last rotation the primaries again. It returns an error of the
// code key_unusable if that is not possible. The token needs the scope keys:admin.
func (c *Client) Rollback(ctx context.Context, tenant string) (rolledBack Rotation, err error) {
	r := newRequest(http.MethodPost, "/v1/keys:rollback")
	if tenant != "" {
		r.query.Set("tenant", tenant)
	}
	err = c.send(ctx, r, decode(&rolledBack))
	return rolledBack, err
}

// Rotations returns the last rotation of a tenant or, if tenant is empty, of every tenant that the token
// administers. The token needs the scope keys:admin.
func (c *Client) Rotations(ctx context.Context, tenant string) ([]Rotation, error) {
	r := newRequest(http.MethodGet, "/v1/rotations")
	if tenant != "" {
		r.query.Set("tenant", tenant)
	}
	var all rotationsJSON
	err := c.send(ctx, r, decode(&all))
	return all.Rotations, err
}
