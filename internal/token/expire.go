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
	expireBatch    = 100
	expirePause    = time.Second // between batches
)

// deleteExpired deletes the documents of expired tokens and their tombstones. Several servers may do so at the same
// time.
func (t *Authenticator) deleteExpired(ctx context.Context) {
	for ctx.Err() == nil {
		more, err := t.deleteExpiredBatch(ctx)
		if err != nil && ctx.Err() == nil {
			t.options.Log.WarnContext(ctx, "expired tokens cannot be deleted now but are refused", "error", err)
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

// deleteExpiredBatch deletes a bounded number of documents and reports whether there may be more.
func (t *Authenticator) deleteExpiredBatch(ctx context.Context) (more bool, err error) {
	names, err := t.store.Due(ctx, keystore.Tokens, t.now().UnixMilli(), expireBatch)
	if err != nil {
		return false, err
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		err = errors.Join(err, t.deleteIfExpired(ctx, name))
	}
	return len(names) == expireBatch, err
}

// deleteIfExpired deletes a document if its token has expired. Otherwise it corrects the due time, which is not
// authenticated.
func (t *Authenticator) deleteIfExpired(ctx context.Context, name string) error {
	content, err := t.store.Get(ctx, keystore.Tokens, name)
	if err != nil {
		return err
	}
	var due int64
	if content != nil {
		switch e, err := t.keys.open(ctx, name, content); {
		case errors.Is(err, errAltered):
		case err != nil:
			return err
		case e.Expired(t.now()):
			_, err = keystore.Replace(ctx, t.store, keystore.Tokens, name, content, nil, 0)
			return err
		default:
			due = e.deleteAt()
		}
	}
	_, err = keystore.Replace(ctx, t.store, keystore.Tokens, name, content, content, due)
	return err
}
