package client

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// Keyset describes a tenant's keys of one use and class, without key material.
type Keyset struct {
	Tenant    string    `json:"tenant"`
	Use       string    `json:"use"`   // storage, cache, service, field or file
	Class     string    `json:"class"` // name of the class
	Epoch     uint32    `json:"epoch"` // increases whenever another key becomes the primary
	Primary   string    `json:"primary"`
	RotatedAt time.Time `json:"rotatedAt"`
	Keys      []KeyInfo `json:"keys"`

	NextRotationAt *time.Time `json:"nextRotationAt,omitempty"` // nil if the keys are not rotated automatically
}

// KeyInfo describes a key.
type KeyInfo struct {
	ID        string    `json:"id"`    // 64 hexadecimal digits
	State     string    `json:"state"` // enabled, disabled, compromised or destroyed
	CreatedAt time.Time `json:"createdAt"`
}

type keysetPage struct {
	Keysets []Keyset `json:"keysets"`
	Cursor  string   `json:"cursor,omitempty"`
}

// Keysets yields the keysets of a tenant or, if tenant is empty, of every tenant that the token administers.
// The iteration ends after an error. The token needs the scope keys:admin.
func (c *Client) Keysets(ctx context.Context, tenant string) iter.Seq2[Keyset, error] {
	return func(yield func(Keyset, error) bool) {
		for cursor := ""; ; {
			r := newRequest(http.MethodGet, "/v1/keys")
			if tenant != "" {
				r.query.Set("tenant", tenant)
			}
			if cursor != "" {
				r.query.Set("cursor", cursor)
			}
			var page keysetPage
			if err := c.send(ctx, r, decode(&page)); err != nil {
				yield(Keyset{}, err)
				return
			}
			for _, one := range page.Keysets {
				if !yield(one, nil) {
					return
				}
			}
			if cursor = page.Cursor; cursor == "" {
				return
			}
		}
	}
}
