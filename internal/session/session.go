// Package session keeps encrypted sessions: what a program knows of a user who has signed in, sealed under a
// key of the session's own.
//
// It guarantees that the store alone opens no session: the id that is handed out is the session's secret, 32
// random bytes. The key is derived from it, and the store holds only a hash of it. A session belongs to one
// owner, is of the class confidential, and cannot be read once it has ended or timed out, nor, however often
// it was extended, longer after its creation than that class allows.
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

	// MaxData is the largest content of a session in bytes.
	MaxData = 65536

	labelKey  = "coffer/v1 session key"  // begins HKDF's info (RFC 5869) for the 32 bytes that seal the session
	labelName = "coffer/v1 session name" // and for the bytes whose hash is its name in the store
)

var (
	// ErrNotFound is the answer about every session that is not in force, and about every id that is none.
	ErrNotFound = &codes.Error{Of: "not_found", Text: "there is no such session, or no longer"}
	// ErrTTL says that a session would last longer than its class allows.
	ErrTTL = &codes.Error{Of: "ttl_out_of_range", Text: "the session would last longer than the class confidential allows"}
)

// Session is a session in force.
type Session struct {
	Data      []byte
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Record is told what is about to happen to a session, after the cryptography and before its effect; an error
// of it prevents the effect. failed is why nothing will happen.
type RecordFunc func(action audit.Action, key format.KeyID, failed error) error

// Manager keeps the sessions of one owner. It is safe for concurrent use.
type Manager struct {
	store   kv.Store
	owner   string
	longest time.Duration
	tenant  *seal.Sealer // nil: sessions are under their own keys alone

	clock    *clock.Clock
	outlived func(class classify.Class)
}

// Option changes what New makes.
type Option func(*Manager)

// WithMaxTTL sets the longest time from a session's creation to its end, in place of the table's for the
// class. It must be positive.
func WithMaxTTL(longest time.Duration) Option { return func(m *Manager) { m.longest = longest } }

// WithTenantKeys seals each session once more under the keys of its tenant, for the use service. So shredding the
// tenant ends its sessions: nothing opens them again, and no new one can be made. A rotation destroys no key of
// that use.
func WithTenantKeys(sealer *seal.Sealer) Option { return func(m *Manager) { m.tenant = sealer } }

// WithClock sets the clock, for tests.
func WithClock(clock *clock.Clock) Option { return func(m *Manager) { m.clock = clock } }

// WithOutlived has removed called for each session that was removed since the store kept it for longer than its class allows.
func WithExpiredHook(removed func(class classify.Class)) Option {
	return func(m *Manager) { m.outlived = removed }
}

// New makes a manager over a store, which the caller closes.
func New(store kv.Store, owner string, options ...Option) *Manager {
	m := &Manager{
		store: store, owner: owner, longest: time.Duration(class.Rules().MaxTTL) * time.Second,
		clock: clock.System, outlived: func(classify.Class) {},
	}
	for _, option := range options {
		option(m)
	}
	return m
}

// Longest is the longest time from the creation of a session to its end.
func (m *Manager) MaxTTL() time.Duration { return m.longest }

// keyed is what follows from an id.
type keyed struct {
	sealer *seal.Sealer
	place  format.Place
	name   string // in the store
}

// derive returns the key and the name of SPEC.md section 4.7. It returns ErrNotFound for a text that is no id.
func (m *Manager) derive(id string) (k keyed, err error) {
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
	return keyed{
		sealer: service.Sealer(), name: kv.Prefix(m.owner, collection) + name,
		place: format.Place{Owner: m.owner, Collection: collection, Name: name, Named: true},
	}, nil
}

// info is a label followed by the owner and its length. The owner is not HKDF's salt because HMAC pads its keys with
// zeros: the owners "a" and "a\x00" would share their keys.
func info(label, owner string) string {
	return label + string(binary.BigEndian.AppendUint16(nil, uint16(len(owner)))) + owner
}

// Create makes a session that lasts for ttl, which must be positive, and returns its id, which cannot be had
// again. It returns ErrTTL, format.ErrTooLarge for more than MaxData, and the errors of the store and of
// record.
func (m *Manager) Create(ctx context.Context, data []byte, ttl time.Duration, record RecordFunc) (id string, s Session, err error) {
	if ttl <= 0 || ttl > m.longest {
		return "", s, ErrTTL
	}
	if len(data) > MaxData {
		return "", s, format.ErrTooLarge
	}
	id = base64.RawURLEncoding.EncodeToString(random())
	k, err := m.derive(id)
	if err != nil {
		return "", s, err
	}
	pkg, h, err := m.seal(&k, data)
	if err != nil {
		return "", s, err
	}
	if err := record(audit.SessionCreate, h.KeyID, nil); err != nil {
		return "", s, err
	}
	if err := m.put(ctx, k.name, pkg, ttl); err != nil {
		return "", s, errors.Join(err, record(audit.SessionCreate, h.KeyID, err))
	}
	return id, sessionOf(data, &h, ttl), nil
}

// seal returns the session's package with its header.
func (m *Manager) seal(k *keyed, data []byte) (pkg []byte, h format.Header, err error) {
	req := seal.Request{Use: format.UseCache, Class: class, Type: format.Bytes, Place: k.place, EncryptedAt: m.clock.Date().UnixMilli()}
	pkg, err = k.sealer.Seal(nil, req, data)
	if req.Use = format.UseService; err == nil && m.tenant != nil {
		pkg, err = m.tenant.Seal(nil, req, pkg)
	}
	if err == nil {
		h, _, err = format.ParseHeader(pkg)
	}
	return pkg, h, err
}

// unseal opens the package of a session.
func (m *Manager) unseal(k *keyed, pkg []byte) (seal.Opened, error) {
	if m.tenant != nil {
		outer, err := m.tenant.OpenStored(nil, pkg, k.place, envelope.OpenPolicy{Use: format.UseService, MinClass: class})
		if err != nil {
			return seal.Opened{}, err
		}
		pkg = outer.Value
	}
	return k.sealer.OpenStored(nil, pkg, k.place, envelope.OpenPolicy{Use: format.UseCache, MinClass: class})
}

// put stores a new session, and reads back after an error: its package has a random nonce, so an equal value in the
// store is the one that was written.
func (m *Manager) put(ctx context.Context, name string, pkg []byte, ttl time.Duration) error {
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

func random() []byte {
	b := make([]byte, idSize)
	_, _ = rand.Read(b) // never fails: package crypto/rand
	return b
}

func sessionOf(data []byte, h *format.Header, left time.Duration) Session {
	return Session{Data: data, CreatedAt: time.UnixMilli(h.EncryptedAt), ExpiresAt: time.Now().Add(left)}
}

// Get opens the session with this id. It returns ErrNotFound if none is in force, and the errors of
// seal.Sealer.OpenStored, of the store and of record.
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

// open gives the session's package too. Its action is recorded, failed or not.
func (m *Manager) open(ctx context.Context, k *keyed, action audit.Action, record RecordFunc) (seal.Opened, []byte, error) {
	pkg, ok, err := kv.Get(ctx, m.store, k.name)
	if err != nil && !errors.Is(err, kv.ErrWrongType) {
		return seal.Opened{}, nil, err
	}
	if err == nil && !ok {
		return seal.Opened{}, nil, ErrNotFound
	}
	var o seal.Opened
	if err == nil {
		o, err = m.unseal(k, pkg)
	}
	err = seal.Stored(err)
	claimed, _, _ := format.ParseHeader(pkg) // of one that does not open too
	if failed := record(action, claimed.KeyID, err); failed != nil {
		return seal.Opened{}, nil, failed
	}
	if created := time.UnixMilli(o.Header.EncryptedAt); err == nil && m.clock.Left(created, m.longest) < 0 {
		err = m.remove(ctx, k, pkg, created)
	}
	return o, pkg, err
}

// remove removes a session that the store forgot to let go, unless it may only seem to be old: the clocks of servers differ. It
// returns ErrNotFound, or the error of the store.
func (m *Manager) remove(ctx context.Context, k *keyed, pkg []byte, created time.Time) error {
	if !m.clock.SurelyExpired(created, m.longest) {
		return ErrNotFound
	}
	removed, err := kv.DeleteIf(ctx, m.store, k.name, pkg)
	if err != nil {
		return err
	}
	if removed {
		m.outlived(class)
	}
	return ErrNotFound
}

// Extend keeps the session in force for ttl from now, which must be positive. Beyond Longest from its
// creation it returns ErrTTL. Other errors are those of Get.
func (m *Manager) Extend(ctx context.Context, id string, ttl time.Duration, record RecordFunc) (Session, error) {
	k, err := m.derive(id)
	if err != nil {
		return Session{}, err
	}
	o, pkg, err := m.open(ctx, &k, audit.SessionExtend, record)
	if err != nil {
		return Session{}, err
	}
	if ttl <= 0 || ttl > m.clock.Left(time.UnixMilli(o.Header.EncryptedAt), m.longest) {
		return Session{}, ErrTTL
	}
	extended, err := kv.ExpireIf(ctx, m.store, k.name, pkg, ttl)
	if err == nil && !extended {
		err = ErrNotFound // it ended meanwhile
	}
	return sessionOf(o.Value, &o.Header, ttl), err
}

// End ends the session, if there is one. Its key was never stored: it goes with the id.
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
