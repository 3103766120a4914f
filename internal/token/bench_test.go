package token_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
)

const benchmarkTokens = 100_000 // tokens in the benchmarks

// fill makes n tokens in a keystore directory in one transaction, and returns their texts.
func fill(t testing.TB, n int) (*site, []string) {
	dir := t.TempDir()
	store, err := sqlitekeys.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	memory := keystoretest.NewMemory()
	site := newSite(t, store)
	texts := make([]string, n)
	inMemory := token.NewRegistry(memory, site.system)
	for i := range texts {
		texts[i], _ = issue(t, inMemory, readGrant)
	}
	keystoretest.CopyDocuments(t, dir, memory, keystore.Tokens)
	return site, texts
}

// Many tokens are read page by page, and all of them are accepted.
func TestManyTokensAreReadInPages(t *testing.T) {
	site, texts := fill(t, 5000)
	begin := time.Now()
	s := site.server(t)
	t.Logf("%d tokens were read in %s", len(texts), time.Since(begin))
	require.Equal(t, len(texts), s.Counts().Live)
	for _, text := range texts {
		if _, err := s.Authenticate(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	site, _ := fill(b, benchmarkTokens)
	for b.Loop() {
		one := &server{audit: &eventLog{}, log: &lockedBuffer{}}
		s := token.Load(site.options(one))
		require.NoError(b, s.Poll(b.Context()))
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
}

// BenchmarkAuthenticate measures requests with many tokens while their first uses of the hour are saved.
func BenchmarkAuthenticate(b *testing.B) {
	site, texts := fill(b, benchmarkTokens)
	s := site.server(b)
	for _, noting := range []bool{false, true} {
		b.Run(fmt.Sprintf("noting=%v", noting), func(b *testing.B) {
			b.ReportAllocs()
			done := make(chan struct{})
			if noting {
				go func() {
					defer close(done)
					s.SaveUses(b.Context())
				}()
			} else {
				close(done)
			}
			var next atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for i := int(next.Add(1)) * 7919; pb.Next(); i++ {
					if _, err := s.Authenticate(b.Context(), texts[i%benchmarkTokens]); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.StopTimer()
			<-done
		})
	}
}
