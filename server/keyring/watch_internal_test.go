package keyring

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

// interrupted is a store whose feed blocks until the context ends.
type interrupted struct{ keystore.Store }

func (interrupted) Changes(ctx context.Context, _ keystore.Position) ([]keystore.Change, keystore.Position, error) {
	<-ctx.Done()
	return nil, "", ctx.Err()
}

// If a keyring is closed while it reads the feed, it does not log a failure.
func TestCloseIsNotLoggedAsAFailure(t *testing.T) {
	var logged bytes.Buffer
	former := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	defer slog.SetDefault(former)
	r := ringOver(t, keystoretest.NewMemory(), newFlaky(t))
	r.Close()
	r.store = interrupted{r.store}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.checkChanges(ctx)
	require.NotContains(t, logged.String(), "followed")
}
