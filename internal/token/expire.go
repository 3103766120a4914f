package token

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
)

const (
	expireInterval = time.Minute
	expireAtOnce   = 100
	expirePause    = time.Second // between batches
)

// expire deletes the documents of tokens that have expired, tombstones too. Any server does, and several may do it at once.
func (t *Authenticator) expire(ctx context.Context) {
	for ctx.Err() == nil {
		more, err := t.expireSome(ctx)
		if err != nil && ctx.Err() == nil {
			t.options.Log.WarnContext(ctx, "expired tokens cannot be deleted now; they are refused", "error", err)
		}
		if err != nil || !more {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(jittered(expirePause)):
		}
	}
}

// expireSome deletes a bounded number of documents and reports whether more may be due.
func (t *Authenticator) expireSome(ctx context.Context) (more bool, err error) {
	names, err := t.store.Due(ctx, keystore.Tokens, t.now().UnixMilli(), expireAtOnce)
	if err != nil {
		return false, err
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		err = errors.Join(err, t.expireOne(ctx, name))
	}
	return len(names) == expireAtOnce, err
}

// expireOne deletes an expired document. The due time is not authenticated: if the record does not confirm it, it is corrected.
func (t *Authenticator) expireOne(ctx context.Context, name string) error {
	content, err := t.store.Get(ctx, keystore.Tokens, name)
	if err != nil {
		return err
	}
	var due int64
	if content != nil {
		switch e, err := t.keys.open(name, content); {
		case errors.Is(err, ErrAltered):
		case err != nil:
			return err
		case e.Expired(t.now()):
			_, err = keystore.Replace(ctx, t.store, keystore.Tokens, name, content, nil, 0)
			return err
		default:
			due = e.due()
		}
	}
	_, err = keystore.Replace(ctx, t.store, keystore.Tokens, name, content, content, due)
	return err
}
