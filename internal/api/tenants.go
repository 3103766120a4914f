package api

import (
	"context"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/coffer-storage/coffer/internal/session"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
)

// Keys gives the keys of tenants, unlocked, and makes those of one that has none. A tenant's are the same each time.
type Keys func(ctx context.Context, tenant string) (seal.Keys, error)

// tenant is what the operations of one tenant work with.
type tenant struct {
	cache    *cache.Cache
	service  *seal.Service
	sessions *session.Manager
}

// keptTenants bounds the tenants whose ciphers are kept: those that were used last.
const keptTenants = 1024

type tenants struct {
	store    kv.Store
	keys     Keys
	options  []cache.Option
	sessions []session.Option

	known *lru.Cache[string, *tenant]
}

func newTenants(o *Options) *tenants {
	known, _ := lru.New[string, *tenant](keptTenants) // fails for no size only
	return &tenants{store: bounded{o.Store}, keys: o.Keys, options: o.Cache, sessions: o.Sessions, known: known}
}

func (t *tenants) of(ctx context.Context, id string) (*tenant, error) {
	keys, err := t.keys(ctx, id) // also of one that is known: where its keys were dropped, this waits for the KMS within the request's time
	if err != nil {
		return nil, err
	}
	if one, ok := t.known.Get(id); ok {
		return one, nil
	}
	service := seal.NewKeysetService(keys)
	sessions := append(slices.Clone(t.sessions), session.WithTenantKeys(service.Sealer()))
	made := &tenant{
		cache: cache.New(t.store, service.Sealer(), t.options...), service: service, sessions: session.New(t.store, id, sessions...),
	}
	if one, there, _ := t.known.PeekOrAdd(id, made); there { // another request made it in the meantime
		return one, nil
	}
	return made, nil
}
