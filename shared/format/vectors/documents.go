package vectors

// DocumentVectors holds the vectors of keyset documents (documents.json).
type DocumentVectors struct {
	Documents []Document      `json:"documents"`
	Slots     []SlotBytes     `json:"slots"`            // single slots
	Invalid   []Malformed     `json:"invalidDocuments"` // bytes that are not documents
	BadSlots  []Malformed     `json:"invalidSlots"`     // bytes that are not slots
	Unlocks   []UnlockRefusal `json:"unlockRefusals"`   // documents that must not open with a secret
	Limits    []Limit         `json:"limits"`           // documents that reach a limit
	Budgets   []Budget        `json:"budgets"`          // iterations of password slots
}

// Limit is a document that reaches a limit. A reader must read it and write the same bytes.
type Limit struct {
	Name  string `json:"name"`
	Bytes Data   `json:"bytes"`
}

// Budget lists the iterations of a document's password slots. If a password must not be tried on them, Code is the code of
// the error.
type Budget struct {
	Name       string   `json:"name"`
	Iterations []uint32 `json:"iterations"`
	Code       string   `json:"code,omitempty"`
}

// Document is a keyset document with its contents unwrapped.
type Document struct {
	Name        string    `json:"name"`
	Bytes       Hex       `json:"bytes"`
	Environment string    `json:"environment"`
	Owner       string    `json:"owner"`
	Slots       []Slot    `json:"slots"`
	Retired     []Retired `json:"retired,omitempty"`
	Shreds      []Shred   `json:"shreds,omitempty"`
	ShredKey    Hex       `json:"shredKey,omitempty"` // system document's key of use shreds
	Keysets     []Keyset  `json:"keysets"`
}

// Slot is a slot and the secret or key that opens it. If the kind of Secret is "kms", the KMS is the local KMS of
// server/kms/SPEC.md with the 32 bytes of Secret.
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
	Key        Hex     `json:"key,omitempty"` // the slot's key; for a KMS, K of its secret
	KeyID      Hex     `json:"keyId"`
	Root       Hex     `json:"root,omitempty"` // the unwrapped root; empty if a reader of this version cannot open it
}

// Retired is a retired slot.
type Retired struct {
	ID         Hex    `json:"id"`
	Line       Hex    `json:"line"`
	Generation uint32 `json:"generation"`
	RootID     Hex    `json:"rootId"`
}

// Shred is a shred record.
type Shred struct {
	Line       Hex   `json:"line"`
	ShreddedAt int64 `json:"shreddedAt"`
}

// Keyset contains the keys of one use and class.
type Keyset struct {
	Use   uint8 `json:"use"`
	Class uint8 `json:"class"`
	// Epoch and Primary are the epoch and key id of the effective primary.
	Epoch   uint32 `json:"epoch"`
	Primary Hex    `json:"primary"`
	// Seals is false if the primary must not seal.
	Seals bool  `json:"seals"`
	Keys  []Key `json:"keys"`
}

// Key is an unwrapped data key.
type Key struct {
	ID         Hex    `json:"id"`
	State      uint8  `json:"state"`
	CreatedAt  int64  `json:"createdAt"`
	Line       Hex    `json:"line"`
	Generation uint32 `json:"generation"`
	RootID     Hex    `json:"rootId"`
	Key        Hex    `json:"key,omitempty"` // empty for a destroyed key
}

// SlotBytes is a slot that is encoded alone, bound to an environment and owner.
type SlotBytes struct {
	Name        string `json:"name"`
	Bytes       Hex    `json:"bytes"`
	Environment string `json:"environment"`
	Owner       string `json:"owner"`
	Slot        Slot   `json:"slot"`
}

// UnlockRefusal is a document that must not open with a secret. The reader opens all slots of the secret and verifies the
// records under their roots. If ShredKey is given, it also verifies shred records.
type UnlockRefusal struct {
	Name     string `json:"name"`
	Bytes    Hex    `json:"bytes"`
	Secret   Secret `json:"secret"`
	ShredKey Hex    `json:"shredKey,omitempty"`
	// Environment is the environment of the reader, if it is given.
	Environment string `json:"environment,omitempty"`
	Code        string `json:"code"`
}

// Merge is a pair of documents and the result of merging them, or the code of the error.
type Merge struct {
	Name   string `json:"name"`
	A      Data   `json:"a"`
	B      Data   `json:"b"`
	Merged *Data  `json:"merged,omitempty"`
	Code   string `json:"code,omitempty"`
}

// BackupVectors holds the vectors of backup files (backups.json).
type BackupVectors struct {
	Backups  []Backup        `json:"backups"`
	Invalid  []Malformed     `json:"invalid"`  // bytes that are not backups
	Refusals []BackupRefusal `json:"refusals"` // backups that a reader must refuse to open
}

// Backup is a backup file and its contents. Documents contains names of documents in documents.json.
type Backup struct {
	Name        string   `json:"name"`
	Bytes       Hex      `json:"bytes"`
	Environment string   `json:"environment"`
	CreatedAt   int64    `json:"createdAt"`
	KEKs        []Secret `json:"keks"` // secrets of the slots, in their order
	Key         Hex      `json:"key"`
	KeyID       Hex      `json:"keyId"`
	MAC         Hex      `json:"mac"`
	Documents   []string `json:"documents"`
}

// BackupRefusal is a backup that a reader of the given environment with the given KEK must refuse.
type BackupRefusal struct {
	Name        string `json:"name"`
	Environment string `json:"environment"`
	Bytes       Hex    `json:"bytes"`
	KEK         Secret `json:"kek"`
	Code        string `json:"code"`
}
