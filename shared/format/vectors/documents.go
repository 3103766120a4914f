package vectors

// Keyrings is the vectors of keyset documents.
type DocumentVectors struct {
	Documents []Document      `json:"documents"`
	Slots     []SlotBytes     `json:"slots"`            // encodings of one slot
	Invalid   []Malformed     `json:"invalidDocuments"` // no documents
	BadSlots  []Malformed     `json:"invalidSlots"`     // no slots
	Unlocks   []UnlockRefusal `json:"unlockRefusals"`   // slots that a secret must not open
	Limits    []Limit         `json:"limits"`           // documents that reach a limit
	Budgets   []Budget        `json:"budgets"`
}

// Limit is a document that reaches a limit, and is read and written as it is.
type Limit struct {
	Name  string `json:"name"`
	Bytes Data   `json:"bytes"`
}

// Budget is the iterations of a document's password slots, and the code of the error if a password may not be tried on them.
type Budget struct {
	Name       string   `json:"name"`
	Iterations []uint32 `json:"iterations"`
	Code       string   `json:"code,omitempty"`
}

// Document is a keyset document with all that it holds, unwrapped.
type Document struct {
	Name        string    `json:"name"`
	Bytes       Hex       `json:"bytes"`
	Environment string    `json:"environment"`
	Owner       string    `json:"owner"`
	Slots       []Slot    `json:"slots"`
	Retired     []Retired `json:"retired,omitempty"`
	Shreds      []Shred   `json:"shreds,omitempty"`
	ShredKey    Hex       `json:"shredKey,omitempty"` // the system document's key of shred records
	Keysets     []Keyset  `json:"keysets"`
}

// Slot is a slot and what opens it. Where Secret's kind is "kms", the KMS is the local one of
// server/kms/SPEC.md with those 32 bytes.
type Slot struct {
	ID         Hex     `json:"id"`
	Kind       uint8   `json:"kind"`
	CreatedAt  int64   `json:"createdAt"`
	Line       Hex     `json:"line"`
	Generation uint32  `json:"generation"`
	RootID     Hex     `json:"rootId"`
	Iterations uint32  `json:"iterations"`
	URL        string  `json:"url"`
	Parameters Hex     `json:"parameters"`
	Secret     *Secret `json:"secret,omitempty"`
	Key        Hex     `json:"key,omitempty"` // the slot's key; none of a KMS's
	KeyID      Hex     `json:"keyId"`
	Root       Hex     `json:"root,omitempty"` // the unwrapped root; none if a reader of this version cannot open it
}

// Retired is a slot that was removed.
type Retired struct {
	ID         Hex    `json:"id"`
	Line       Hex    `json:"line"`
	Generation uint32 `json:"generation"`
	RootID     Hex    `json:"rootId"`
}

// Shred is a shredded line.
type Shred struct {
	Line       Hex   `json:"line"`
	ShreddedAt int64 `json:"shreddedAt"`
}

// Keyset is the keys of one use and class.
type Keyset struct {
	Use   uint8 `json:"use"`
	Class uint8 `json:"class"`
	// Epoch and Primary are those of the primary that counts.
	Epoch   uint32 `json:"epoch"`
	Primary Hex    `json:"primary"`
	// Seals is false where the primary may not seal.
	Seals bool  `json:"seals"`
	Keys  []Key `json:"keys"`
}

// Key is a data key, unwrapped.
type Key struct {
	ID         Hex    `json:"id"`
	State      uint8  `json:"state"`
	CreatedAt  int64  `json:"createdAt"`
	Line       Hex    `json:"line"`
	Generation uint32 `json:"generation"`
	RootID     Hex    `json:"rootId"`
	Key        Hex    `json:"key,omitempty"` // none of a destroyed key
}

// SlotBytes is the encoding of one slot, as a document holds it, bound to an environment and owner.
type SlotBytes struct {
	Name        string `json:"name"`
	Bytes       Hex    `json:"bytes"`
	Environment string `json:"environment"`
	Owner       string `json:"owner"`
	Slot        Slot   `json:"slot"`
}

// UnlockRefusal is a document that a secret must not open, if the reader opens all its slots and verifies what is under
// their roots. With a ShredKey it verifies shred records too.
type UnlockRefusal struct {
	Name     string `json:"name"`
	Bytes    Hex    `json:"bytes"`
	Secret   Secret `json:"secret"`
	ShredKey Hex    `json:"shredKey,omitempty"`
	// Environment is the reader's own, if it is not the document's.
	Environment string `json:"environment,omitempty"`
	Code        string `json:"code"`
}

// Merge is two documents and what they merge into, or the code of the error.
type Merge struct {
	Name   string `json:"name"`
	A      Data   `json:"a"`
	B      Data   `json:"b"`
	Merged *Data  `json:"merged,omitempty"`
	Code   string `json:"code,omitempty"`
}

// Backups is the vectors of backup files.
type BackupVectors struct {
	Backups  []Backup        `json:"backups"`
	Invalid  []Malformed     `json:"invalid"`  // no backups
	Refusals []BackupRefusal `json:"refusals"` // backups that must not be believed
}

// Backup is a backup file, and what it is made of. The documents are those of the Keyrings with these names.
type Backup struct {
	Name        string   `json:"name"`
	Bytes       Hex      `json:"bytes"`
	Environment string   `json:"environment"`
	CreatedAt   int64    `json:"createdAt"`
	KEKs        []Secret `json:"keks"` // each opens a slot, in the order of the slots
	Key         Hex      `json:"key"`
	KeyID       Hex      `json:"keyId"`
	MAC         Hex      `json:"mac"`
	Documents   []string `json:"documents"`
}

// BackupRefusal is a file that is a backup, which a reader of this environment with this KEK must refuse.
type BackupRefusal struct {
	Name        string `json:"name"`
	Environment string `json:"environment"`
	Bytes       Hex    `json:"bytes"`
	KEK         Secret `json:"kek"`
	Code        string `json:"code"`
}
