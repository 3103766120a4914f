package audit_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
)

// Record the use of a key, verify the log, and find the events of one record by the hash of its name.
func Example() {
	temporary, err := os.MkdirTemp("", "audit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(temporary)
	dir := filepath.Join(temporary, "audit")

	secret := make([]byte, 32) // store it, for example in a secret manager
	_, _ = rand.Read(secret)
	key, err := audit.KeyFromBytes(secret)
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	file, err := audit.Open(dir, key, audit.Options{PlainContext: []string{"department"}})
	if err != nil {
		log.Fatal(err)
	}
	err = file.Record(ctx, audit.Event{
		Action: audit.KeyOpen, Subject: "nurse-7", Tenant: "clinic", Class: classify.PHI, Name: "patient:P12345",
		Context: map[string]string{"department": "cardiology"},
	})
	if err != nil {
		log.Fatal(err) // do not release the value: its use is not on record
	}
	if err := file.Close(); err != nil {
		log.Fatal(err)
	}

	result, err := audit.Verify(ctx, dir, key, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("intact:", result.Fault == nil)

	name := key.HashName("clinic", "patient:P12345")
	err = audit.ReadVerified(ctx, dir, key, &audit.Filter{Tenant: "clinic", Action: "key."}, func(l *audit.Line) {
		if l.NameHash == name {
			fmt.Println(l.Seq, l.Severity, l.Action, l.Outcome, l.Subject, l.Context["department"])
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// intact: true
	// 1 info key.open ok nurse-7 cardiology
}

// Keep the heads of a log elsewhere. Verify compares the log with them, and so finds lines that were cut off later.
func ExampleVerify() {
	temporary, err := os.MkdirTemp("", "audit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(temporary)
	dir := filepath.Join(temporary, "audit")
	key, err := audit.KeyFromBytes(make([]byte, 32)) // an example only: draw 32 random bytes
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	file, err := audit.Open(dir, key, audit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := file.Record(ctx, audit.Event{Action: audit.TokenCreate, Subject: "token-1"}); err != nil {
		log.Fatal(err)
	}
	if err := file.Close(); err != nil {
		log.Fatal(err)
	}
	known, err := audit.ReadHeads(dir, key)
	if err != nil {
		log.Fatal(err)
	}
	kept := known.Heads.String() // write it where the server cannot change it

	heads, err := audit.ParseHeads(kept)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "1", "00000000000000000001.log"), 0); err != nil {
		log.Fatal(err)
	}
	result, err := audit.Verify(ctx, dir, key, heads, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Fault.Kind, "at", result.Fault.File)
	// Output:
	// truncated at 1/00000000000000000001.log
}
