package envelope_test

import (
	"errors"
	"fmt"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A document holds the wrapped keys of an owner. AddKey makes the new key the primary of its use and class.
func ExampleDocument() {
	document := &envelope.Document{Environment: "dev", Owner: "clinic"}
	id := format.KeyID{1} // in practice HKDF-SHA256 of the key with label format.LabelKeyID
	err := document.AddKey(format.UseCache, classify.PHI, envelope.Key{
		ID: id, State: envelope.Enabled, Root: document.NextRoot(format.KeyID{2}, [16]byte{3}),
		Wrapped: make([]byte, envelope.WrappedSize), // in practice the key sealed under the root, with document.KeyBinding as additional data
	})
	if err != nil {
		panic(err)
	}
	if err := document.Sign(authenticator); err != nil { // in practice HMAC-SHA256 under a key derived from the root
		panic(err)
	}
	encoded, err := document.Append(nil)
	if err != nil {
		panic(err)
	}

	read, err := envelope.ParseDocument(encoded)
	if err != nil {
		panic(err)
	}
	primary, err := envelope.NewIndex(read).Primary(format.UseCache, classify.PHI)
	fmt.Println(primary == id, err)
	_, err = envelope.NewIndex(read).Primary(format.UseCache, classify.PII)
	fmt.Println(err)
	// Output:
	// true <nil>
	// coffer: the key is disabled, or there is no primary key for this use and class
}

// A reader checks the header of a package against its keyset and its policy before it opens the package.
func ExampleIndex_CheckOpen() {
	document := &envelope.Document{Owner: "clinic"}
	id := format.KeyID{1}
	err := document.AddKey(format.UseCache, classify.Internal, envelope.Key{
		ID: id, State: envelope.Enabled, Root: envelope.Root{Generation: 1}, Wrapped: make([]byte, envelope.WrappedSize),
	})
	if err != nil {
		panic(err)
	}
	index := envelope.NewIndex(document)

	header := format.Header{Use: format.UseCache, Source: format.FromKeyset, Class: uint8(classify.Internal), KeyID: id}
	fmt.Println(index.CheckOpen(&header, envelope.OpenPolicy{Use: format.UseCache}))

	err = index.CheckOpen(&header, envelope.OpenPolicy{Use: format.UseCache, MinClass: classify.PHI})
	fmt.Println(errors.Is(err, classify.ErrTooLow), codes.Of(err).Code)

	header.KeyID = format.KeyID{9}
	fmt.Println(codes.Of(index.CheckOpen(&header, envelope.OpenPolicy{Use: format.UseCache})).Code)
	// Output:
	// <nil>
	// true class_too_low
	// unknown_key
}

// A writer counts the packages and bytes that it seals under one salt, and draws a new salt when the budget is used up.
func ExampleBudget_Spend() {
	var budget envelope.Budget
	fmt.Println(budget.Spend(1 << 20))
	fmt.Println(budget.Spend(format.MaxBytesPerSalt))
	// Output:
	// true
	// false
}
