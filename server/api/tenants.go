package api

import (
	"context"
	"slices"
	"sync"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/server/session"
)

// Keys gives the keys of tenants, unlocked, and makes those of one that has none. A tenant's are the same each time.
type Keys func(ctx context.Context, tenant string) (seal.Keys, error)

// tenant is what the operations of one tenant work with.
type tenant struct {
	cache    *cache.Cache
	service  *seal.Service
	sessions *session.Manager
}

// keptTenants bounds the tenants whose ciphers are kept. One that is dropped is made again.
const keptTenants = 1024

type tenants struct {
	store    kv.Store
	keys     Keys
	options  []cache.Option
	sessions []session.Option

	mu    sync.Mutex
	known map[string]*tenant
}

func (t *tenants) of(ctx context.Context, id string) (*tenant, error) {
	keys, err := t.keys(ctx, id) // also of one that is known: where its keys were dropped, this waits for the KMS within the request's time
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	one := t.known[id]
	t.mu.Unlock()
	if one != nil {
		return one, nil
	}
	service := seal.NewKeysetService(keys)
	sessions := append(slices.Clone(t.sessions), session.WithTenantKeys(service.Sealer()))
	return t.keep(id, &tenant{
		cache: cache.New(t.store, service.Sealer(), t.options...), service: service, sessions: session.New(t.store, id, sessions...),
	}), nil
}

// keep gives the tenant that others made meanwhile, if any did.
func (t *tenants) keep(id string, made *tenant) *tenant {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one := t.known[id]; one != nil {
		return one
	}
	for other := range t.known {
		if len(t.known) < keptTenants {
			break
		}
		delete(t.known, other)
	}
	t.known[id] = made
	return made
}
