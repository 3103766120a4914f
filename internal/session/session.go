// Package session stores encrypted sessions: the data that a program keeps about a signed-in user.
//
// Each session is sealed under its own key, which is derived from the session's id. The id has 32 random bytes and is
// returned only to the caller. The store contains only a hash of it, so the store alone opens no session.
//
// A session belongs to one owner and has the class confidential. It cannot be read after it was ended or has expired.
// It cannot be extended beyond the longest time that the class allows after its creation.
package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"github.com/coffer-storage/coffer/internal/clock"
	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	collection = "session"
	idSize     = 32
	class      = classify.Confidential

	// MaxData is the maximum size of a session's data in bytes.
	MaxData = 65536

	labelKey  = "coffer/v1 session key"  // prefix of the HKDF info (RFC 5869) for the 32-byte key that seals the session
	labelName = "coffer/v1 session name" // prefix of the info for the bytes whose hash is the session's name in the store
)

var (
	// ErrNotFound reports that there is no session with an id, that it has ended or expired, or that the text is not an
	// id.
	ErrNotFound = &codes.Error{ErrorCode: "not_found", Message: "the session does not exist or has ended"}
	// ErrTTL reports that a session would last longer than its class allows.
	ErrTTL = &codes.Error{ErrorCode: "ttl_out_of_range", Message: "the session would last longer than the class confidential allows"}
)

// Session is a session that has not ended.
type Session struct {
	Data      []byte
	CreatedAt time.Time
	ExpiresAt time.Time
}

// RecordFunc records an action on a session in the audit log. It is called after the cryptography and before the action
// takes effect. failed is the error if the action fails. If RecordFunc returns an error, the action is not done.
type RecordFunc func(action audit.Action, key format.KeyID, failed error) error

// Manager manages the sessions of one owner. It is safe for concurrent use.
type Manager struct {
	store  kv.Store
	owner  string
	maxTTL time.Duration
	tenant *seal.Sealer // nil: sessions are sealed under their own keys only

	onExpired func(class classify.Class)
}

// Option configures a Manager.
type Option func(*Manager)

// WithMaxTTL sets the longest time from a session's creation to its end, instead of the class's limit. It must be
// positive.
func WithMaxTTL(maxTTL time.Duration) Option { return func(m *Manager) { m.maxTTL = maxTTL } }

// WithTenantKeys seals each session again under the tenant's keys for the use service. If the tenant is shredded, its
// sessions cannot be opened anymore and no new ones can be made. Rotations do not destroy keys of that use.
func WithTenantKeys(sealer *seal.Sealer) Option { return func(m *Manager) { m.tenant = sealer } }

// WithExpiredHook sets a function that is called for each session that was removed because the store kept it for longer
// than its class allows.
func WithExpiredHook(onExpired func(class classify.Class)) Option {
	return func(m *Manager) { m.onExpired = onExpired }
}

// New returns a Manager of an owner's sessions in a store, which the caller closes.
func New(store kv.Store, owner string, options ...Option) *Manager {
	m := &Manager{
		store: store, owner: owner, maxTTL: time.Duration(class.Rules().MaxTTL) * time.Second,
		onExpired: func(classify.Class) {},
	}
	for _, option := range options {
		option(m)
	}
	return m
}

// MaxTTL returns the longest time from a session's creation to its end.
func (m *Manager) MaxTTL() time.Duration { return m.maxTTL }

// derivedKey is the key and the place of a session, derived from its id.
type derivedKey struct {
	sealer *seal.Sealer
	place  format.Place
	name   string // of the entry in the store
}

// derive returns the key and name of a session (SPEC.md section 4.7). It returns ErrNotFound if the text is not an id.
func (m *Manager) derive(id string) (k derivedKey, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(raw) != idSize {
		return k, ErrNotFound
	}
	defer clear(raw)
	key, err := secret.HKDF(raw, nil, info(labelKey, m.owner), idSize)
	if err != nil {
		return k, err
	}
	defer clear(key)
	named, err := secret.HKDF(raw, nil, info(labelName, m.owner), idSize)
	if err != nil {
		return k, err
	}
	service, err := seal.NewService(key)
	if err != nil {
		return k, err
	}
	hash := sha256.Sum256(named)
	name := hex.EncodeToString(hash[:])
	return derivedKey{
		sealer: service.Sealer(), name: kv.Prefix(m.owner, collection) + name,
		place: format.Place{Owner: m.owner, Collection: collection, Name: name, Named: true},
	}, nil
}

// info returns the HKDF info: a label, the length of the owner, and the owner. The owner is not used as HKDF's salt,
// because HMAC pads its keys with zeros: the owners "a" and "a\x00" would share their keys.
func info(label, owner string) string {
	return label + string(binary.BigEndian.AppendUint16(nil, uint16(len(owner)))) + owner
}

// Create makes a session that expires after ttl, which must be positive, and returns its id. The id is not stored.
// Create returns ErrTTL, format.ErrTooLarge if data is longer than MaxData, or an error of the store or of record.
func (m *Manager) Create(ctx context.Context, data []byte, ttl time.Duration, record RecordFunc) (id string, s Session, err error) {
	if ttl <= 0 || ttl > m.maxTTL {
		return "", s, ErrTTL
	}
	if len(data) > MaxData {
		return "", s, format.ErrTooLarge
	}
	id = base64.RawURLEncoding.EncodeToString(newID())
	k, err := m.derive(id)
	if err != nil {
		return "", s, err
	}
	pkg, h, err := m.seal(ctx, &k, data)
	if err != nil {
		return "", s, err
	}
	if err := record(audit.SessionCreate, h.KeyID, nil); err != nil {
		return "", s, err
	}
	if err := m.create(ctx, k.name, pkg, ttl); err != nil {
		return "", s, errors.Join(err, record(audit.SessionCreate, h.KeyID, err))
	}
	return id, sessionOf(data, &h, ttl), nil
}

// seal returns the session's package and its header.
func (m *Manager) seal(ctx context.Context, k *derivedKey, data []byte) (pkg []byte, h format.Header, err error) {
	req := seal.Request{Use: format.UseCache, Class: class, Type: format.Bytes, Place: k.place, EncryptedAt: clock.System.Date().UnixMilli()}
	pkg, err = k.sealer.Seal(ctx, nil, req, data)
	if req.Use = format.UseService; err == nil && m.tenant != nil {
		pkg, err = m.tenant.Seal(ctx, nil, req, pkg)
	}
	if err == nil {
		h, _, err = format.ParseHeader(pkg)
	}
	return pkg, h, err
}

// unseal opens a session's package.
func (m *Manager) unseal(ctx context.Context, k *derivedKey, pkg []byte) (seal.Opened, error) {
	if m.tenant != nil {
		outer, err := m.tenant.OpenStored(ctx, nil, pkg, k.place, envelope.OpenPolicy{Use: format.UseService, MinClass: class})
		if err != nil {
			return seal.Opened{}, err
		}
		pkg = outer.Value
	}
	return k.sealer.OpenStored(ctx, nil, pkg, k.place, envelope.OpenPolicy{Use: format.UseCache, MinClass: class})
}

// create stores a new session. After an error, it reads the session back: the package has a random nonce, so an equal
// value in the store means that the write took effect.
func (m *Manager) create(ctx context.Context, name string, pkg []byte, ttl time.Duration) error {
	err := kv.Set(ctx, m.store, name, pkg, ttl)
	if err == nil {
		return nil
	}
	ctx, cancel := durable.Detach(ctx)
	defer cancel()
	if now, _, unread := kv.Get(ctx, m.store, name); unread == nil && bytes.Equal(now, pkg) {
		return nil
	}
	return err
}

func newID() []byte {
	b := make([]byte, idSize)
	_, _ = rand.Read(b) // never fails: package crypto/rand
	return b
}

func sessionOf(data []byte, h *format.Header, left time.Duration) Session {
	return Session{Data: data, CreatedAt: time.UnixMilli(h.EncryptedAt), ExpiresAt: time.Now().Add(left)}
}

// Get opens the session with an id. It returns ErrNotFound or an error of seal.Sealer.OpenStored, of the store or of
// record.
func (m *Manager) Get(ctx context.Context, id string, record RecordFunc) (Session, error) {
	k, err := m.derive(id)
	if err != nil {
		return Session{}, err
	}
	o, _, err := m.open(ctx, &k, audit.KeyOpen, record)
	if err != nil {
		return Session{}, err
	}
	left, ok, err := m.store.TTL(ctx, k.name)
	if err == nil && (!ok || left == 0) {
		err = ErrNotFound
	}
	return sessionOf(o.Value, &o.Header, left), err
}

// open opens a session, records the action, and also returns the package.
func (m *Manager) open(ctx context.Context, k *derivedKey, action audit.Action, record RecordFunc) (seal.Opened, []byte, error) {
	pkg, ok, err := kv.Get(ctx, m.store, k.name)
	if err != nil && !errors.Is(err, kv.ErrWrongType) {
		return seal.Opened{}, nil, err
	}
	if err == nil && !ok {
		return seal.Opened{}, nil, ErrNotFound
	}
	var o seal.Opened
	if err == nil {
		o, err = m.unseal(ctx, k, pkg)
	}
	err = seal.StoredError(err)
	claimed, _, _ := format.ParseHeader(pkg) // also of a package that does not open
	if failed := record(action, claimed.KeyID, err); failed != nil {
		return seal.Opened{}, nil, failed
	}
	if created := time.UnixMilli(o.Header.EncryptedAt); err == nil && clock.System.Left(created, m.maxTTL) < 0 {
		err = m.removeExpired(ctx, k, pkg, created)
	}
	return o, pkg, err
}

// removeExpired removes a session that the store should have removed. It keeps a session that may only seem to be old
// because the clocks of servers differ. It returns ErrNotFound or an error of the store.
func (m *Manager) removeExpired(ctx context.Context, k *derivedKey, pkg []byte, created time.Time) error {
	if !clock.System.SurelyExpired(created, m.maxTTL) {
		return ErrNotFound
	}
	removed, err := kv.DeleteIf(ctx, m.store, k.name, pkg)
	if err != nil {
		return err
	}
	if removed {
		m.onExpired(class)
	}
	return ErrNotFound
}

// Extend sets the session to expire after ttl from now, which must be positive. It returns ErrTTL if the session would
// outlast MaxTTL from its creation. Its other errors are those of Get.
func (m *Manager) Extend(ctx context.Context, id string, ttl time.Duration, record RecordFunc) (Session, error) {
	k, err := m.derive(id)
	if err != nil {
		return Session{}, err
	}
	o, pkg, err := m.open(ctx, &k, audit.SessionExtend, record)
	if err != nil {
		return Session{}, err
	}
	if ttl <= 0 || ttl > clock.System.Left(time.UnixMilli(o.Header.EncryptedAt), m.maxTTL) {
		return Session{}, ErrTTL
	}
	extended, err := kv.ExpireIf(ctx, m.store, k.name, pkg, ttl)
	if err == nil && !extended {
		err = ErrNotFound // the session ended in the meantime
	}
	return sessionOf(o.Value, &o.Header, ttl), err
}

// End removes the session with an id, if it exists. Its key is not stored anywhere, so the session can never be opened
// again.
func (m *Manager) End(ctx context.Context, id string, record RecordFunc) error {
	k, err := m.derive(id)
	if err != nil {
		return err
	}
	if err := record(audit.SessionEnd, format.KeyID{}, nil); err != nil {
		return err
	}
	_, err = kv.Delete(ctx, m.store, k.name)
	return err
}
