package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
)

// BenchmarkBatch compares POST /v1/cache:batch of 100 writes or reads of 1 KiB with the same service over a store that makes
// one call per entry. The ratio shows the gain from pipelined calls of the store.
func BenchmarkBatch(b *testing.B) {
	client := redis.NewClient(&redis.Options{Addr: redistest.Start(b).Addr, PoolSize: goroutines, ContextTimeoutEnabled: true})
	b.Cleanup(func() { _ = client.Close() })
	embedded, err := sqlitekv.Open(b.TempDir(), nil)
	require.NoError(b, err)
	b.Cleanup(func() { _ = embedded.Close() })
	for _, over := range []struct {
		name  string
		store kv.Store
	}{{"Redis", rediskv.New(client)}, {"Embedded", embedded}} {
		few, single := startService(b, over.store), startService(b, oneByOne{over.store})
		for _, kind := range []struct{ name, format string }{
			{"Set", `{"op":"set","key":"%s%d","class":"phi","value":"` + base64.StdEncoding.EncodeToString(newValue(1<<10)) + `"}`},
			{"Get", `{"op":"get","key":"%s%d"}`},
		} {
			b.Run(kind.name+"/"+over.name, func(b *testing.B) {
				compare(b, each(single.batch(b, kind.format, "single")), each(few.batch(b, kind.format, "few")))
			})
		}
	}
}

// batch returns a function that sends a batch of 100 operations.
func (s service) batch(b *testing.B, format, prefix string) func() error {
	var steps []string
	for i := range 100 {
		steps = append(steps, fmt.Sprintf(format, prefix, i))
	}
	body := []byte(`{"operations":[` + strings.Join(steps, ",") + `]}`)
	return func() error {
		request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+s.address+"/v1/cache:batch", bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+s.bearer)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(response.Body)
		if err == nil && (response.StatusCode != http.StatusOK || bytes.Contains(answer, []byte(`"code":`))) {
			err = fmt.Errorf("status %d", response.StatusCode)
		}
		return err
	}
}

// oneByOne is a store that makes one call per entry of a batch.
type oneByOne struct{ kv.Store }

func (o oneByOne) Read(ctx context.Context, keys []string, limit int) (all []kv.ReadResult, err error) {
	for i := range keys {
		one, err := o.Store.Read(ctx, keys[i:i+1], limit)
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	return all, nil
}

func (o oneByOne) Write(ctx context.Context, writes []kv.Write) (all []bool, err error) {
	for i := range writes {
		one, err := o.Store.Write(ctx, writes[i:i+1])
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	return all, nil
}
