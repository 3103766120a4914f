package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
)

// BenchmarkAudit compares recording the use of a key, by one goroutine (Record) and by 64 goroutines (Record64), with a
// minimal log without a hash chain: a JSON line with the same fields, appended to a file under a mutex.
func BenchmarkAudit(b *testing.B) {
	log := openAudit(b, b.TempDir())
	e := audit.Event{
		Action: audit.KeyOpen, Class: classify.PHI, Tenant: "clinic-7", Issuer: identity.APIToken, Subject: "0123456789abcdef", Operation: "getEntry",
		RequestID: "7f3c1a5e-2d4b-4c8e-9a01-5b6d7e8f9a0b", Name: "patient:P12345", Context: map[string]string{"purpose": "billing"},
	}
	record := each(func() error { return log.Record(b.Context(), e) })
	file, err := os.OpenFile(filepath.Join(b.TempDir(), "plain.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(b, err)
	b.Cleanup(func() { _ = file.Close() })
	var mu sync.Mutex
	plain := each(func() error {
		line, err := json.Marshal(&e)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		_, err = file.Write(append(line, '\n'))
		return err
	})
	b.Run("Record", func(b *testing.B) { compare(b, plain, record) })
	b.Run("Record64", func(b *testing.B) { compare(b, together(plain), together(record)) })
}

// together divides a run among 64 goroutines.
func together(one run) run {
	return func(n int) error {
		var wg sync.WaitGroup
		failed := make(chan error, goroutines)
		for range goroutines {
			wg.Go(func() {
				if err := one(max(1, n/goroutines)); err != nil {
					failed <- err
				}
			})
		}
		wg.Wait()
		close(failed)
		return <-failed
	}
}
