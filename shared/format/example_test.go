package format_test

import (
	"fmt"
	"time"

	"github.com/coffer-storage/coffer/shared/format"
)

// A writer encodes a header and seals the value with additional data that binds the header and the place.
func ExampleAppendAdditionalData() {
	context, err := format.NewContext(map[string]string{"patient": "4711", "department": "radiology"})
	if err != nil {
		panic(err)
	}
	header := format.Header{
		Algorithm: format.AES256GCM, Use: format.UseCache, Source: format.FromKeyset, Class: 5, Type: format.Text,
		KeyID:       format.KeyID{},                                          // id of the data key that seals
		Salt:        format.Salt{},                                           // random
		EncryptedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli(), // now
		Context:     context,
	}
	encoded, err := header.Append(nil)
	if err != nil {
		panic(err)
	}
	place := format.Place{Owner: "clinic", Collection: "cache", Name: "record/1", Named: true}
	additionalData, err := format.AppendAdditionalData(nil, encoded, place)
	if err != nil {
		panic(err)
	}
	fmt.Printf("header %d bytes, additional data %d bytes, begins with %q\n", len(encoded), len(additionalData), encoded[:3])
	// Output: header 118 bytes, additional data 146 bytes, begins with "CFR"
}

// A reader finds in the header which key opens a package, and the context that describes its value.
func ExampleParse() {
	context, _ := format.NewContext(map[string]string{"patient": "4711", "department": "radiology"})
	stored, err := (&format.Package{
		Header: format.Header{
			Algorithm: format.AES256GCM, Use: format.UseCache, Source: format.FromKeyset, Class: 5, Type: format.Text, Context: context,
		},
		Body: make([]byte, format.NonceSize+len("ciphertext")+format.TagSize),
	}).Append(nil)
	if err != nil {
		panic(err)
	}

	p, err := format.Parse(stored)
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Header.Algorithm, p.Header.Use, p.Header.Type, len(p.Body))
	for key, value := range p.Header.Context.All() {
		fmt.Println(key, "=", value)
	}
	_, err = format.Parse(stored[1:])
	fmt.Println(err)
	// Output:
	// AES-256-GCM cache text 38
	// department = radiology
	// patient = 4711
	// coffer: malformed package
}

// A file's name and media type may be personal data, so they are encrypted with the value.
func ExampleAppendPlaintext() {
	header := format.Header{Algorithm: format.AES256GCM, Type: format.File, Flags: format.Padded}
	described := format.Details{MediaType: "application/dicom", FileName: "knee.dcm"}
	plaintext, err := format.AppendPlaintext(nil, &header, described, []byte("the file's bytes"))
	if err != nil {
		panic(err)
	}
	fmt.Println(len(plaintext))

	details, value, err := format.SplitPlaintext(&header, plaintext)
	fmt.Println(details.FileName, details.MediaType, string(value), err)
	// Output:
	// 256
	// knee.dcm application/dicom the file's bytes <nil>
}

// The collection of a database field contains its table and column.
func ExampleFieldCollection() {
	collection, err := format.FieldCollection("public.patients", "ssn")
	fmt.Printf("%q %v\n", collection, err)
	// Output: "public.patients\x00ssn" <nil>
}
