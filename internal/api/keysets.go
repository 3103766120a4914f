package api

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/shared/codes"
)

var errOtherTenant = &codes.Error{Of: "forbidden", Text: "the token administers its own tenant only"}

// listKeysets answers the keysets of one tenant, or of a page of all that the token administers.
func (s *server) listKeysets(c *call) error {
	values, err := query(c, "tenant", "cursor", "limit")
	if err != nil {
		return err
	}
	limit, err := pageLimit(values)
	if err != nil {
		return err
	}
	after, err := tenantCursor(values)
	if err != nil {
		return err
	}
	one, err := s.administered(c, values.Has("tenant"), values.Get("tenant"))
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	page := struct {
		Keysets []lifecycle.Keyset `json:"keysets"`
		Cursor  string             `json:"cursor,omitempty"`
	}{Keysets: []lifecycle.Keyset{}}
	if one != identity.EveryTenant {
		d, err := s.ring.Document(ctx, one)
		if err != nil {
			return err
		}
		page.Keysets = lifecycle.Describe(d, s.rotator)
		return answerJSON(c, http.StatusOK, page)
	}
	all, next, err := s.ring.DocumentPage(ctx, after, limit)
	if err != nil {
		return err
	}
	for _, d := range all {
		page.Keysets = append(page.Keysets, lifecycle.Describe(d, s.rotator)...)
	}
	page.Cursor = base64.RawURLEncoding.EncodeToString([]byte(next))
	return answerJSON(c, http.StatusOK, page)
}

// administered gives the tenant that a request names, or else the token's own, which is identity.EveryTenant
// for an operator's.
func (s *server) administered(c *call, given bool, tenant string) (string, error) {
	if !given {
		return c.id.Tenant, nil
	}
	if !identity.ValidTenant(tenant) || tenant == identity.EveryTenant {
		return "", invalid("a tenant is " + identity.TenantRule + ", and not *")
	}
	if !c.id.CanAdminister(tenant) {
		return "", s.refuse(c, errOtherTenant)
	}
	return tenant, nil
}

// pageLimit reads about how much a page is to hold.
func pageLimit(values url.Values) (int, error) {
	if !values.Has("limit") {
		return defaultPage, nil
	}
	limit, err := strconv.Atoi(values.Get("limit"))
	if err != nil || limit < 1 || limit > maxPage {
		return 0, invalid("the limit is a whole number from 1 to 1000")
	}
	return limit, nil
}

// pageCursor reads what an earlier page gave; the empty text where none is given.
func pageCursor(values url.Values) (string, error) {
	cursor, err := base64.RawURLEncoding.Strict().DecodeString(values.Get("cursor"))
	if err != nil || len(values.Get("cursor")) > maxCursor || values.Has("cursor") && len(cursor) == 0 {
		return "", errCursor
	}
	return string(cursor), nil
}

// tenantCursor is pageCursor for pages of tenants.
func tenantCursor(values url.Values) (string, error) {
	after, err := pageCursor(values)
	if err == nil && after != "" && !identity.ValidTenant(after) {
		err = errCursor
	}
	return after, err
}
