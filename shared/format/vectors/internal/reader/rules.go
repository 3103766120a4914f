package reader

// Rule is a rule of SPEC.md that a Reader can break.
type Rule int

// The rules. A reader that breaks None follows every rule.
const (
	None Rule = iota

	// Rules of the header (section 3.3).
	Magic
	Version
	VersionFirst
	KnownAlgorithm
	KnownUse
	KnownSource
	KnownClass
	KnownType
	KnownFlags
	LastTime
	LastRevision
	IterationsOfPassphrase
	NoIterations
	PublicClass
	PublicFlags
	PublicIsPublic
	OneContext
	TombstoneAlgorithm
	TombstoneType

	// Rules of contexts (section 3.2).
	ContextSize
	ContextComplete
	ContextKeyUTF8
	ContextValueUTF8
	ContextEntries
	ContextKeyTwice
	ContextBytes
	ContextSorted

	// Rules of the length of bodies (section 3.3).
	LastChunk
	ChunkCount
	PaddedLimit
	BodyLimit
	BareTombstone

	// Rules of opening (section 6.8).
	MinClass
	RequiredUse
	FromKeyset
	KeyUse
	KeyClass
	DestroyedKey
	DisabledKey
	ShreddedKeys
	CompromisedOpens
	SourceOfSecret
	MinIterations
	MaxIterations
	KeyIDOfSecret

	// Rules of keys (section 4).
	MasterKeyDerived
	PassphraseNFC
	PassphraseCanonical
	NoEmptySecret
	SecretUTF8
	NoNUL
	MasterKeyBits
	MasterKeyExact
	MasterKeyAlphabet
	MasterKeyPadding
	MasterKeySize
	OwnerInInfo
	NameIsHashed

	// Rules of additional data (section 5).
	NamesAsGiven
	NoNameDiffers
	NamedField
	FieldNUL
	FieldSeparator
	FieldLimit

	// Rules of bodies (sections 6.4 to 6.6).
	Tag
	PublicTag
	PublicPlaintext
	ChunkedContext
	Commitment
	ChunkCounter
	ChunkTag
	WholeMessage

	// Rules of plaintexts (sections 6.1 to 6.3).
	DetailsComplete
	SealedContextRules
	NameAfterContext
	SealedNameUTF8
	SealedNameLimit
	MediaTypeUTF8
	MediaTypeLimit
	FileNameUTF8
	FileNameLimit
	ModifiedBefore
	ModifiedAfter
	KnownElement
	WholeElements
	PaddingRemoved
	PaddingMark
	AnyPadding
	MinPaddedSize
	Padme
	EmptyTombstone
	ValueLimit
	LargeChunked
	TextUTF8
	JSONValueUTF8
	JSONValueValid
	KeepMark

	// Rules of the JSON form (section 7).
	JSONVersion
	TopMembers
	MetadataMembers
	ExactNames
	AlgorithmNames
	UseNames
	SourceNames
	ClassNames
	TypeNames
	LowerHex
	KeyIDSize
	SaltSize
	NonceSize
	NoNonce
	FlagsAreTrue
	Base64Spaces
	Base64Alphabet
	Base64Padding
	Base64Bits
	DateForm
	DateYear
	DateHour
	DateMinute
	DateSecond
	DateDay
	NumberType
	WholeNumber
	MinNumber
	MaxNumber
	ContextMember
	ContextTexts
	LoneSurrogates

	// Rules of writers (sections 3.4 and 6.7).
	RevisionFirst
	TimeSecond
	BytesThird
	EnabledPrimary
	DestroyedPrimary
)

// Broken describes the behaviour of a reader that breaks a rule.
var Broken = [...]string{
	None: "",

	Magic:                  "takes any magic",
	Version:                "takes any version",
	VersionFirst:           "requires a complete header before it checks the version",
	KnownAlgorithm:         "takes unknown algorithms",
	KnownUse:               "takes unknown uses",
	KnownSource:            "takes unknown sources",
	KnownClass:             "takes unknown classes",
	KnownType:              "takes unknown types",
	KnownFlags:             "takes unknown flags",
	LastTime:               "takes times after 9999",
	LastRevision:           "takes revisions over 2^53 - 1",
	IterationsOfPassphrase: "takes passphrase packages without iterations",
	NoIterations:           "takes iterations in other packages",
	PublicClass:            "takes the public algorithm with other classes",
	PublicFlags:            "takes the public algorithm with flags",
	PublicIsPublic:         "refuses class public with another algorithm",
	OneContext:             "takes a context in the header with sealed context",
	TombstoneAlgorithm:     "takes chunked tombstones",
	TombstoneType:          "takes tombstones of other types",

	ContextSize:      "takes contexts over 16,384 bytes",
	ContextComplete:  "treats an incomplete entry as the end",
	ContextKeyUTF8:   "takes keys that are not UTF-8",
	ContextValueUTF8: "takes values that are not UTF-8",
	ContextEntries:   "takes more than 64 entries",
	ContextKeyTwice:  "takes a key twice",
	ContextBytes:     "compares keys as UTF-16",
	ContextSorted:    "takes entries in any order",

	LastChunk:     "takes chunked bodies that end between chunks",
	ChunkCount:    "takes more than 2^38 chunks",
	PaddedLimit:   "applies the limit of other bodies to padded ones",
	BodyLimit:     "takes bodies over the limit",
	BareTombstone: "takes tombstones with a value",

	MinClass:         "ignores the minimum class",
	RequiredUse:      "ignores the required use",
	FromKeyset:       "ignores the source when it reads with a keyset",
	KeyUse:           "ignores the use of the key",
	KeyClass:         "ignores the class of the key",
	DestroyedKey:     "opens with destroyed keys",
	DisabledKey:      "opens with disabled keys",
	ShreddedKeys:     "reports keys of shredded documents as unknown",
	CompromisedOpens: "refuses compromised keys",
	SourceOfSecret:   "ignores the source when it reads with a secret",
	MinIterations:    "derives below 100,000 iterations",
	MaxIterations:    "derives above 10,000,000 iterations",
	KeyIDOfSecret:    "ignores the key id when it reads with a secret",

	MasterKeyDerived:    "uses a master key as K",
	PassphraseNFC:       "does not normalise passphrases",
	PassphraseCanonical: "normalises passphrases by NFKC",
	NoEmptySecret:       "takes empty secrets",
	SecretUTF8:          "takes secrets that are not UTF-8",
	NoNUL:               "takes secrets with U+0000",
	MasterKeyBits:       "takes base64 with nonzero unused bits as a master key",
	MasterKeyExact:      "takes base64 with white space as a master key",
	MasterKeyAlphabet:   "takes base64url as a master key",
	MasterKeyPadding:    "takes base64 without padding as a master key",
	MasterKeySize:       "takes base64 of other lengths as a master key",
	OwnerInInfo:         "uses the owner of a session as salt",
	NameIsHashed:        "stores sessions under a name that is not hashed",

	NamesAsGiven:   "normalises names",
	NoNameDiffers:  "treats a missing name as an empty name",
	NamedField:     "takes tables and columns without a name",
	FieldNUL:       "takes tables and columns with U+0000",
	FieldSeparator: "joins table and column by a dot",
	FieldLimit:     "takes collections of fields over 255 bytes",

	Tag:             "ignores tags",
	PublicTag:       "ignores the tags of public packages",
	PublicPlaintext: "leaves public values out of the additional data",
	ChunkedContext:  "leaves the additional data out of a chunked body's context",
	Commitment:      "ignores commitments",
	ChunkCounter:    "uses one nonce for all chunks",
	ChunkTag:        "ignores the tags of chunks",
	WholeMessage:    "returns the chunks before one that does not open",

	DetailsComplete:    "takes plaintexts that are too short for their details",
	SealedContextRules: "takes any sealed context",
	NameAfterContext:   "looks for the sealed name before the sealed context",
	SealedNameUTF8:     "takes sealed names that are not UTF-8",
	SealedNameLimit:    "takes sealed names over 1,024 bytes",
	MediaTypeUTF8:      "takes media types that are not UTF-8",
	MediaTypeLimit:     "takes media types over 255 bytes",
	FileNameUTF8:       "takes file names that are not UTF-8",
	FileNameLimit:      "takes file names over 1,024 bytes",
	ModifiedBefore:     "takes files modified after 9999",
	ModifiedAfter:      "takes files modified before the earliest time",
	KnownElement:       "takes unknown element types",
	WholeElements:      "takes incomplete elements",
	PaddingRemoved:     "returns the padding with the value",
	PaddingMark:        "takes padding without 0x80",
	AnyPadding:         "refuses padding that a writer does not add",
	MinPaddedSize:      "pads short plaintexts less",
	Padme:              "pads to multiples of 256",
	EmptyTombstone:     "takes tombstones with details and a value",
	ValueLimit:         "takes values over 64 MiB that are not chunked",
	LargeChunked:       "refuses chunked values over 64 MiB",
	TextUTF8:           "takes texts that are not UTF-8",
	JSONValueUTF8:      "takes JSON that is not UTF-8",
	JSONValueValid:     "takes values that are not JSON",
	KeepMark:           "drops byte order marks",

	JSONVersion:     "takes any version",
	TopMembers:      "takes unknown members beside the metadata",
	MetadataMembers: "takes unknown members in the metadata",
	ExactNames:      "ignores the case of names of members",
	AlgorithmNames:  "ignores the case of algorithms",
	UseNames:        "ignores the case of uses",
	SourceNames:     "ignores the case of sources",
	ClassNames:      "ignores the case of classes",
	TypeNames:       "ignores the case of types",
	LowerHex:        "takes upper-case hexadecimal",
	KeyIDSize:       "takes key ids of other lengths",
	SaltSize:        "takes salts of other lengths",
	NonceSize:       "takes nonces of other lengths",
	NoNonce:         "takes nonces of chunked packages",
	FlagsAreTrue:    "takes flags that are not true",
	Base64Spaces:    "takes base64 with white space",
	Base64Alphabet:  "takes base64url",
	Base64Padding:   "takes base64 with other padding",
	Base64Bits:      "takes base64 with unused bits",
	DateForm:        "takes other forms of RFC 3339",
	DateYear:        "takes years before 1970",
	DateHour:        "takes hours over 23",
	DateMinute:      "takes minutes over 59",
	DateSecond:      "takes seconds over 59",
	DateDay:         "takes days that are not in the calendar",
	NumberType:      "takes numbers as strings",
	WholeNumber:     "takes fractions",
	MinNumber:       "takes numbers below their range",
	MaxNumber:       "takes numbers above their range",
	ContextMember:   "treats a context of another type as empty",
	ContextTexts:    "takes values of contexts that are not strings",
	LoneSurrogates:  "replaces lone surrogates",

	RevisionFirst:    "ignores revisions when it compares packages",
	TimeSecond:       "ignores times when it compares packages",
	BytesThird:       "treats packages of one revision and time as equal",
	EnabledPrimary:   "seals under keys that are not enabled",
	DestroyedPrimary: "reports destroyed primaries as unusable",
}

// String returns the behaviour of a reader that breaks the rule.
func (r Rule) String() string { return Broken[r] }
