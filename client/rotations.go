package client

import (
	"context"
	"net/http"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
)

// Rotation is the progress of a tenant's last rotation. Its counts are numbers of cache entries.
type Rotation struct {
	Tenant      string            `json:"tenant"`
	ID          string            `json:"id"`
	State       string            `json:"state"`
	Reason      string            `json:"reason,omitempty"`
	Compromised bool              `json:"compromised"`
	Keysets     []RotatedSet      `json:"keysets"`
	BegunAt     time.Time         `json:"begunAt"`
	RotatedAt   *time.Time        `json:"rotatedAt,omitempty"` // time of the last new primaries
	NextAt      *time.Time        `json:"nextAt,omitempty"`    // time of the next step
	EndedAt     *time.Time        `json:"endedAt,omitempty"`
	Reencrypted int               `json:"reencrypted"`
	Changed     int               `json:"changed"`
	Failed      int               `json:"failed"`
	Failures    []RotationFailure `json:"failures"`
}

// Order selects the keys that Rotate rotates.
type Order struct {
	Tenant      string         // empty means the token's own
	Class       classify.Class // 0 means every class
	Compromised bool           // others may know the former keys: these never seal again, and the rotation cannot be rolled back
	Reason      string         // incident, personnel, policy, schedule or other; empty means none
}

// RotatedSet identifies a keyset of a rotation.
type RotatedSet struct {
	Use   string `json:"use"`
	Class string `json:"class"`
}

// RotationFailure counts the entries of one class and key that do not open. They stay as they are.
type RotationFailure struct {
	Class   string `json:"class"`
	KeyID   string `json:"keyId"`
	Code    string `json:"code"`
	Entries int    `json:"entries"`
}

// Rotations are the rotations of tenants, and the sweep of the cache that serves all of them.
type Rotations struct {
	Rotations []Rotation `json:"rotations"`
	Sweep     *Sweep     `json:"sweep,omitempty"` // nil before the first sweep
	Warnings  []string   `json:"warnings"`        // reasons why no key is destroyed, for people
}

// Sweep is the current or last sweep of all entries of the cache.
type Sweep struct {
	StartedAt time.Time  `json:"startedAt"`
	EndedAt   *time.Time `json:"endedAt,omitempty"`
	Fault     string     `json:"fault,omitempty"` // why the sweep is incomplete; another one follows
	Parts     int        `json:"parts"`           // parts of the store, such as the nodes of a cluster
	PartsDone int        `json:"partsDone"`
	Expected  int        `json:"expected"` // entries that the last complete sweep visited; 0 before the first one
	Scanned   int        `json:"scanned"`
	Foreign   int        `json:"foreign"` // entries that are not packages of the cache
}

// Rotate makes new primary keys for a tenant. The servers then re-encrypt the cache under them. Rotate is never retried, because a
// second request could rotate again. The token needs the scope keys:admin.
func (c *Client) Rotate(ctx context.Context, order Order) (begun Rotation, err error) {
	body := rotateJSON{Tenant: order.Tenant, Compromised: order.Compromised, Reason: order.Reason}
	if order.Class != 0 {
		body.Class = order.Class.String()
	}
	r := newRequest(http.MethodPost, "/v1/keys:rotate").withJSON(body)
	r.once = true
	err = c.send(ctx, r, decode(&begun))
	return begun, err
}

// Rollback makes the former keys of a tenant's last rotation the primaries again. If tenant is empty, it is the token's own. Rollback
// returns an error with the code key_unusable if it is not possible. The token needs the scope keys:admin.
func (c *Client) Rollback(ctx context.Context, tenant string) (rolledBack Rotation, err error) {
	err = c.send(ctx, newRequest(http.MethodPost, "/v1/keys:rollback").withJSON(rollbackJSON{Tenant: tenant}), decode(&rolledBack))
	return rolledBack, err
}

type rotateJSON struct {
	Tenant      string `json:"tenant,omitempty"`
	Class       string `json:"class,omitempty"`
	Compromised bool   `json:"compromised,omitempty"`
	Reason      string `json:"reason,omitempty"`
}

type rollbackJSON struct {
	Tenant string `json:"tenant,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Rotations returns the last rotation of a tenant or, if tenant is empty, of every tenant that the token
// administers, and the sweep. The token needs the scope keys:admin.
func (c *Client) Rotations(ctx context.Context, tenant string) (all Rotations, err error) {
	r := newRequest(http.MethodGet, "/v1/rotations")
	if tenant != "" {
		r.query.Set("tenant", tenant)
	}
	err = c.send(ctx, r, decode(&all))
	return all, err
}
