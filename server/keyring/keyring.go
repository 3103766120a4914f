// Package keyring keeps the keysets of tenants in a directory, one file each, and gives their keys.
//
// What it guarantees: at rest there are wrapped keys only, and only the KEK opens them; a file is replaced as a whole and on the disk
// before its keys seal anything, so that a kill or a power cut at any point loses no key; processes that share the
// directory see each other's keys; a file that is damaged, or of another environment, is refused and left as it is. The KEK is called
// once for each tenant, however many ask at once.
package keyring

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// The sentinels; those of shared/envelope and package kms come through as well.
var (
	// ErrTenant says that a tenant id or environment label is empty, too long or not UTF-8.
	ErrTenant = &codes.Error{Of: "invalid_argument", Text: "a tenant id is 1 to 255 bytes of UTF-8, an environment label at most 64"}
	// ErrUnreadable says that a tenant's keyset cannot be read from or written to its file.
	ErrUnreadable = &codes.Error{Of: "keyring_unavailable", Text: "the tenant's keyset cannot be read or written"}
	// ErrEnvironment says that a keyset belongs to another environment, such as prod's in dev.
	ErrEnvironment = &codes.Error{Of: "keyring_unavailable", Text: "the tenant's keyset belongs to another environment"}
)

// unlockTimeout bounds the call of the KEK that many callers may wait for, whatever their own deadlines.
const unlockTimeout = 30 * time.Second

// Keyring is the keysets of one directory. It is safe for concurrent use, and several processes may share the directory.
type Keyring struct {
	store       directory
	kek         kms.KEK
	environment string
	mu          sync.Mutex
	tenants     map[string]*unlocking
}

// unlocking is a tenant, once done is closed.
type unlocking struct {
	done   chan struct{}
	tenant *Tenant
	err    error
}

// Open opens a directory of keysets, and makes it where it is missing. The environment is a label such as dev, staging or prod,
// bound to every key: keysets of another one are refused.
func Open(dir string, kek kms.KEK, environment string) (*Keyring, error) {
	if len(environment) > envelope.MaxEnvironment || !utf8.ValidString(environment) {
		return nil, ErrTenant
	}
	store, err := openDirectory(dir)
	if err != nil {
		return nil, err
	}
	return &Keyring{store: store, kek: kek, environment: environment, tenants: map[string]*unlocking{}}, nil
}

// Tenant gives a tenant's keys; a tenant that has none yet gets a root, on disk before this returns. The id is 1 to 255 bytes of
// UTF-8, of any characters. It returns ErrTenant, ErrUnreadable, ErrEnvironment, an error of the KEK, or the context's.
func (r *Keyring) Tenant(ctx context.Context, id string) (*Tenant, error) {
	if id == "" || len(id) > format.MaxOwner || !utf8.ValidString(id) {
		return nil, ErrTenant
	}
	r.mu.Lock()
	u, ok := r.tenants[id]
	if !ok {
		u = &unlocking{done: make(chan struct{})}
		r.tenants[id] = u
		go r.unlock(context.WithoutCancel(ctx), id, u)
	}
	r.mu.Unlock()
	select {
	case <-u.done:
		return u.tenant, u.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// unlock answers all who wait for a tenant. A failure is not kept, so the next call tries again.
func (r *Keyring) unlock(ctx context.Context, id string, u *unlocking) {
	ctx, cancel := context.WithTimeout(ctx, unlockTimeout)
	defer cancel()
	u.tenant, u.err = r.load(ctx, id)
	if errors.Is(u.err, fs.ErrNotExist) {
		u.tenant, u.err = r.create(ctx, id)
	}
	if u.err != nil {
		r.mu.Lock()
		delete(r.tenants, id)
		r.mu.Unlock()
	}
	close(u.done)
}
