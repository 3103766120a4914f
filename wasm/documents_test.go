//go:build !js

package main_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// expected returns the document that TestExportsBuildTheSameDocument builds through the exports.
func expected(t *testing.T) *envelope.Document {
	d := &envelope.Document{Environment: "dev", Owner: "clinic é"}
	require.NoError(t, d.AddSlot(envelope.Slot{
		ID: [16]byte{1}, Kind: envelope.SlotPassword, CreatedAt: 1700000000000, Root: root(),
		KeyID: format.KeyID{3}, Salt: format.Salt{4}, Iterations: classify.MinWriteIterations, Wrapped: make([]byte, envelope.WrappedSize),
	}))
	for i, class := range classify.All {
		require.NoError(t, d.AddKey(format.UseStorage, class, envelope.Key{
			ID: format.KeyID{byte(10 + i)}, State: envelope.Enabled, CreatedAt: 1700000000001, Root: root(),
			Wrapped: bytes.Repeat([]byte{byte(i)}, envelope.WrappedSize),
		}))
	}
	require.NoError(t, d.Sign(authenticator))
	return d
}

func root() envelope.Root {
	return envelope.Root{Line: [16]byte{9}, Generation: 1, ID: format.KeyID{2}}
}

// authenticator uses a plain digest in place of HMAC-SHA256, which the shell computes.
func authenticator(r *envelope.Record) ([envelope.MACSize]byte, bool) {
	return sha256.Sum256(r.Message), true
}

// A document that is built, encoded, reopened and read through the exports equals the one that package envelope makes.
func TestExportsBuildTheSameDocument(t *testing.T) {
	want := expected(t)
	encoded, err := want.Append(nil)
	require.NoError(t, err)
	slot := want.Slots[0].Append(nil)
	unsignedSlot := want.Slots[0]
	unsignedSlot.MAC = [envelope.MACSize]byte{}

	var s script
	built := of{s.call([]byte(want.Environment+want.Owner), "newDocument", len(want.Environment), len(want.Owner))}
	s.call(unsignedSlot.Append(nil), "addSlot", built, len(slot))
	for _, set := range want.Keysets {
		k := set.Keys[0]
		in := slices.Concat(k.ID[:], []byte{9}, make([]byte, 15), []byte{0, 0, 0, 1}, k.Root.ID[:], k.Wrapped)
		s.call(in, "addKey", built, set.Use, set.Class, len(in), k.CreatedAt)
	}
	unsigned := s.call(nil, "encodeDocument", built)
	var messages []int
	want.Records(func(r *envelope.Record) bool {
		messages = append(messages, s.call(nil, "record", built, len(messages)))
		s.call(r.MAC, "sign", built, len(messages)-1)
		return true
	})
	pastRecords := s.call(nil, "record", built, len(messages))
	builtPrimary := s.call(nil, "primary", built, format.UseStorage, classify.PHI)
	written := s.call(nil, "encodeDocument", built)
	reopened := of{s.call(encoded, "openDocument", len(encoded))}
	closedRoots := s.call(nil, "primary", reopened, format.UseStorage, classify.PHI)
	name := want.Slots[0].Root.Append(nil)
	s.call(name, "openRoots", reopened, len(name))
	again := s.call(nil, "encodeDocument", reopened)
	owner, environment := s.call(nil, "owner", reopened), s.call(nil, "environment", reopened)
	firstSlot, secondSlot := s.call(nil, "slot", reopened, 0), s.call(nil, "slot", reopened, 1)
	fifthKey, sixthKey := s.call(nil, "key", reopened, 4), s.call(nil, "key", reopened, 5)
	primary := s.call(nil, "primary", reopened, format.UseStorage, classify.PHI)
	noPrimary := s.call(nil, "primary", reopened, format.UseCache, classify.PHI)
	rootBinding, key := want.RootBinding(want.Slots[0].Root), want.KeyBinding(format.UseStorage, 5, format.KeyID{14})
	bound := s.call(want.Slots[0].Root.Append(nil), "binding", reopened, 0, 0)
	keyBinding := s.call(key.ID[:], "binding", reopened, format.UseStorage, 5)
	s.call(nil, "closeSession", reopened)
	closed := s.call(nil, "encodeDocument", reopened)
	stillOpen := s.call(nil, "encodeDocument", built)

	answers := s.run(t)
	require.Equal(t, failure(t, "invalid_argument"), answers[unsigned].Result, "a record without a MAC")
	require.Zero(t, answers[pastRecords].Result)
	i := 0
	for r := range want.Records {
		require.Equal(t, slices.Concat([]byte{32}, make([]byte, 32), r.Root.Append(nil), r.Message), answers[messages[i]].bytes(t))
		i++
	}
	require.Equal(t, encoded, answers[written].bytes(t))
	require.Equal(t, encoded, answers[again].bytes(t))
	require.Equal(t, want.Owner, string(answers[owner].bytes(t)))
	require.Equal(t, want.Environment, string(answers[environment].bytes(t)))
	require.Equal(t, slot, answers[firstSlot].bytes(t))
	require.Zero(t, answers[secondSlot].Result)
	phi := want.Keysets[4].Keys[0]
	require.Equal(t, string([]byte{1, 5, 1})+string(phi.ID[:])+string(phi.Root.Append(nil))+"\x00\x3c"+string(phi.Wrapped),
		string(answers[fifthKey].bytes(t)))
	require.Zero(t, answers[sixthKey].Result)
	require.Equal(t, phi.ID[:], answers[primary].bytes(t))
	require.Equal(t, failure(t, "key_unusable"), answers[closedRoots].Result, "no root is open")
	require.Equal(t, phi.ID[:], answers[builtPrimary].bytes(t), "a key that was added must seal at once")
	require.Equal(t, failure(t, "key_unusable"), answers[noPrimary].Result)
	require.Equal(t, rootBinding.Append(nil), answers[bound].bytes(t))
	require.Equal(t, key.Append(nil), answers[keyBinding].bytes(t))
	require.Equal(t, failure(t, "closed"), answers[closed].Result)
	require.Equal(t, encoded, answers[stillOpen].bytes(t))
}

func TestExportsReturnErrorCodes(t *testing.T) {
	encoded, err := expected(t).Append(nil)
	require.NoError(t, err)
	version2 := bytes.Clone(encoded)
	version2[3] = 2
	var s script
	document := of{s.call(encoded, "openDocument", len(encoded))}
	single := of{s.call(make([]byte, 32), "openSingle", 3, 0)}
	key := append(make([]byte, 32+envelope.RootSize), make([]byte, envelope.WrappedSize)...)
	key[32+19] = 1 // generation of the root
	expectedCodes := map[int]string{
		s.call(encoded, "openDocument", len(encoded)-1):                     "malformed",
		s.call(version2, "openDocument", len(version2)):                     "unsupported_version",
		s.call(nil, "openDocument", 1<<18+1):                                "too_large",
		s.call(nil, "openDocument", -1):                                     "malformed",
		s.call(nil, "openDocument", 1<<30):                                  "malformed",
		s.call(nil, "newDocument", 0, 0):                                    "invalid_argument", // no owner
		s.call(nil, "newDocument", -5, 10):                                  "internal",
		s.call(nil, "newDocument", 1<<30, 1<<30):                            "internal",
		s.call(nil, "encodeDocument", 99):                                   "closed",
		s.call(nil, "encodeDocument", -1):                                   "closed",
		s.call(nil, "encodeDocument", single):                               "closed",
		s.call(nil, "openRoots", single, 0):                                 "closed",
		s.call(key[32:], "openRoots", document, envelope.RootSize-1):        "malformed",
		s.call(nil, "checkSlot", document, 1):                               "internal",
		s.call(nil, "sign", document, 11):                                   "invalid_argument", // past the last record
		s.call(nil, "record", single, 0):                                    "closed",
		s.call(nil, "checkDerivations", single):                             "closed",
		s.call(nil, "slot", document, -1):                                   "internal",
		s.call(nil, "key", document, -1):                                    "internal",
		s.call(key, "addKey", document, 1, 5, 10, 1):                        "internal",
		s.call(key, "addKey", document, 1, 5, len(key), "NaN"):              "invalid_argument",
		s.call(key, "addKey", document, 257, 5, len(key), 1):                "invalid_argument", // not truncated to 8 bits
		s.call(key, "addKey", document, 1, 261, len(key), 1):                "invalid_argument",
		s.call(nil, "addSlot", document, 0):                                 "malformed",
		s.call(nil, "primary", document, 257, 5):                            "key_unusable",
		s.call(nil, "checkIterations", 249_999):                             "kdf_out_of_range",
		s.call(nil, "checkIterations", 10_000_001):                          "kdf_out_of_range",
		s.call(nil, "checkIterations", "NaN"):                               "kdf_out_of_range",
		s.call(nil, "writeIterations", 10_000_001):                          "kdf_out_of_range",
		s.call(nil, "checkHeader", 0, 0):                                    "malformed",
		s.call(nil, "checkDerivation", -1):                                  "malformed",
		s.call(nil, "encodeHeader", 10):                                     "internal",
		s.call([]byte("\x00\x05a"), "encodeDetails", 5, 0, 3, 0):            "invalid_argument",
		s.call([]byte("\x00\x01\xff\x00\x00"), "encodeDetails", 5, 0, 5, 0): "invalid_argument",
		s.call([]byte("\x00"), "splitDetails", 5, 0, 1):                     "malformed",
	}
	answers := s.run(t)
	for step, code := range expectedCodes {
		require.Equal(t, failure(t, code), answers[step].Result, "%+v", s.steps[step])
	}
}
