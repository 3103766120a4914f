package kv_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
)

// Open an embedded store, write an entry that expires, and replace its value unless another client did so first. A store
// over Redis, which rediskv.Open returns, is used in the same way.
func Example() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := sqlitekv.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	ctx := context.Background()
	key := kv.Prefix("clinic", "cache") + "patient:P12345"
	if err := kv.Set(ctx, store, key, []byte("sealed package 1"), time.Hour); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		swapped, err := kv.CompareAndSwap(ctx, store, key, []byte("sealed package 1"), []byte("sealed package 2"))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("swapped:", swapped)
	}
	value, found, err := kv.Get(ctx, store, key)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found, string(value))
	// Output:
	// swapped: true
	// swapped: false
	// true sealed package 2
}

// countingStore is a driver that counts the keys that another driver reads.
type countingStore struct {
	kv.Store
	reads int
}

func (s *countingStore) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	s.reads += len(keys)
	return s.Store.Read(ctx, keys, limit)
}

// A driver implements kv.Store. This one embeds another driver and overrides one method. The functions of package kv work
// with every driver.
func ExampleStore() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	inner, err := sqlitekv.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	store := &countingStore{Store: inner}
	defer store.Close()

	values, err := kv.GetMany(context.Background(), store, []string{"a", "b"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(values), "values,", store.reads, "reads")
	// Output:
	// 2 values, 2 reads
}
