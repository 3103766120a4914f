package client_test

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/client"
	"github.com/coffer-storage/coffer/shared/classify"
)

// Every kind of read returns a context that is too long for a header.
func TestLongContexts(t *testing.T) {
	url, bearer, _ := serve(t)
	c := connect(t, url, bearer)
	for _, value := range []string{"short", strings.Repeat("ä", 4<<10), strings.Repeat("中", 5<<10)} {
		context := map[string]string{"a": value, "b": "\x01 \U0001F511"}
		_, err := c.Set(t.Context(), "k", []byte("value"), classify.PHI, client.Context(context), client.ContentType("text/plain"))
		require.NoError(t, err)
		entry, err := c.Get(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "value", string(entry.Value))
		require.Equal(t, "text/plain", entry.ContentType)
		sealed, err := c.GetPackage(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "CFR", string(sealed.Value[:3]))
		head, ttl, err := c.Head(t.Context(), "k")
		require.NoError(t, err)
		require.Positive(t, ttl)
		stream, streamed, err := c.GetStream(t.Context(), "k")
		require.NoError(t, err)
		read, err := io.ReadAll(stream)
		require.NoError(t, err)
		require.NoError(t, stream.Close())
		require.Equal(t, "value", string(read))
		for _, info := range []client.Info{entry.Info, sealed.Info, head, streamed} {
			require.Equal(t, context, info.Context)
		}
	}
}
