package reader

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"
)

// Unlocked contains the parts of a document that a secret opens.
type Unlocked struct {
	Roots     map[string]string  // by encoded Root
	Keys      map[string]Key     // by use, class and id
	Primaries map[string]Primary // by use and class
}

// Primary is an effective primary.
type Primary struct {
	Epoch uint32
	KeyID string
}

// Secret is a secret of a reader: its kind in the notation of the vectors and its text, or the key of a slot.
type Secret struct {
	Kind, Text string
	Slot       byte // the kind of slot that Key opens
	Key        []byte
}

var slotOf = map[string]byte{"passphrase": passwordSlot, "master-key": masterKeySlot, "kms": kmsSlot}

// Unlock unlocks a document with several secrets (section 6). The environment is that of the reader and may be empty. If
// shredKey is nil, Unlock ignores shred records.
func (r *DocumentReader) Unlock(d *Document, secrets []Secret, environment string, shredKey []byte) (u *Unlocked, code Code) {
	code = refusal(func() {
		r.requireCode(environment == "" || d.Environment == environment, invalid, "environment of the reader")
		u = &Unlocked{Roots: map[string]string{}}
		for _, secret := range secrets {
			maps.Copy(u.Roots, r.openSlots(d.slots, d, secret))
		}
		r.verify(d, u.Roots, string(shredKey))
		r.unwrapKeys(d, u)
	})
	return u, code
}

// openSlots returns the roots that a secret opens.
func (r *DocumentReader) openSlots(slots []record, d *Document, secret Secret) map[string]string {
	kind := secret.Slot
	if kind == 0 {
		kind = slotOf[secret.Kind]
	}
	failure := wrongSecret
	if kind == passwordSlot {
		var iterations []uint32
		for i := range slots {
			if slots[i].kind == passwordSlot || !r.keeps("slots of other kinds do not count") {
				iterations = append(iterations, slots[i].iterations)
			}
		}
		if code := r.Budget(iterations); code != "" {
			panic(code)
		}
	}
	opened := map[string]string{}
	for i := range slots {
		s := &slots[i]
		if s.kind != kind {
			continue
		}
		if kind == passwordSlot && !inBounds(s.iterations) && r.keeps("iterations of a slot") {
			failure = outOfRange
			if !r.keeps("other slots than the one out of range") {
				panic(outOfRange)
			}
			continue
		}
		if key, ok := r.openSlot(s, d, secret); ok {
			opened[s.root.String()] = key
			if !r.keeps("slots of several roots") {
				break
			}
		}
	}
	if len(opened) == 0 {
		panic(failure)
	}
	return opened
}

// Budget checks the total of the iterations of password slots (section 6, step 1).
func (r *DocumentReader) Budget(iterations []uint32) Code {
	total := uint64(0)
	for _, n := range iterations {
		if inBounds(n) || !r.keeps("slots out of bounds do not count") {
			total += uint64(n)
		}
	}
	return refusal(func() { r.requireCode(total <= 20_000_000, outOfRange, "iterations of all slots") })
}

func inBounds(iterations uint32) bool { return iterations >= 100_000 && iterations <= 10_000_000 }

// openSlot returns the root of a slot, and false if the secret does not belong to the slot.
func (r *DocumentReader) openSlot(s *record, d *Document, secret Secret) (string, bool) {
	key := secret.Key
	if key == nil {
		kind := secret.Kind
		if kind == "kms" {
			kind = "master-key"
		}
		key = (&Reader{}).Key(kind, secret.Text, []byte(s.salt), s.iterations)
	}
	id, bound, wrapped := keyIDOf(key), binding(d, "\x00\x00"+s.root.String()), s.wraps
	var opened string
	if s.kind == kmsSlot {
		if s.url != "base64key://"+hex.EncodeToString([]byte(id[:8])) && r.keeps("URL of a KEK") {
			return "", false
		}
		r.requireCode(len(wrapped) >= 32, authentication, "least length of what a KMS wrapped")
		if wrapped[:32] != id && r.keeps("key id of a KEK") {
			return "", false
		}
		opened = unwrap(key, wrapped[32:], bound)
		r.requireCode(strings.HasPrefix(opened, bound), authentication, "binding inside")
		opened = opened[len(bound):]
	} else {
		if s.keyID != id && r.keeps("key id of a slot") {
			return "", false
		}
		opened = unwrap(key, wrapped, bound)
	}
	r.requireCode(keyIDOf([]byte(opened)) == s.root.id, authentication, "key id of a root")
	return opened, true
}

func keyIDOf(key []byte) string { return string(derive(key, nil, "coffer/v1 key id")) }

// binding returns the additional data of a wrapped key (section 5). rest contains the fields after the owner.
func binding(d *Document, rest string) string {
	return string(sized(sized(sized(nil, []byte("coffer/v1 wrapped key")), []byte(d.Environment)), []byte(d.Owner))) + rest
}

func unwrap(under []byte, wrapped, bound string) string {
	if len(wrapped) < 12+16 {
		panic(authentication)
	}
	block, _ := aes.NewCipher(derive(under, nil, "coffer/v1 wrapping key"))
	gcm, _ := cipher.NewGCM(block)
	key, err := gcm.Open(nil, []byte(wrapped[:12]), []byte(wrapped[12:]), []byte(bound))
	if err != nil {
		panic(authentication)
	}
	return string(key)
}

func macOf(key, label string, message []byte) string {
	h := hmac.New(sha256.New, derive([]byte(key), nil, label))
	h.Write(message)
	return string(h.Sum(nil))
}

// recordMAC returns the MAC of a record (section 4).
func recordMAC(key string, d *Document, label, place, body string) string {
	message := sized(sized(sized(nil, []byte("coffer/v1 "+label+" record")), []byte(d.Environment)), []byte(d.Owner))
	return macOf(key, "coffer/v1 record mac", append(append(message, place...), body...))
}

func (r *DocumentReader) verify(d *Document, roots map[string]string, shredKey string) {
	check := func(records []record, label, place string) {
		for i := range records {
			one := &records[i]
			key, ok := roots[one.root.String()]
			if !r.keeps("records of other lines with the root's id") {
				for name, other := range roots {
					if name[20:] == one.root.id {
						key, ok = other, true
					}
				}
			}
			if ok {
				r.requireCode(recordMAC(key, d, label, place, one.body)[:len(one.mac)] == one.mac, authentication, "MAC of a "+label)
			}
		}
	}
	check(d.slots, "slot", "")
	check(d.retired, "retired slot", "")
	for i := range d.keysets {
		check(d.keysets[i].primaries, "primary", d.keysets[i].place())
		check(d.keysets[i].keys, "key", d.keysets[i].place())
	}
	if shredKey == "" {
		return
	}
	if !r.keeps("key of shred records") {
		for _, shredKey = range roots {
		}
	}
	for i := range d.shreds {
		one := &d.shreds[i]
		r.requireCode(recordMAC(shredKey, d, "shred", "", one.body) == one.mac, authentication, "MAC of a shred")
	}
}

func (r *DocumentReader) unwrapKeys(d *Document, u *Unlocked) {
	u.Keys, u.Primaries = map[string]Key{}, map[string]Primary{}
	for i := range d.keysets {
		s := &d.keysets[i]
		for _, one := range s.keys {
			key, ok := u.Roots[one.root.String()]
			if !ok {
				continue
			}
			opened := Key{Use: s.use, Class: s.class, State: one.state}
			if one.state != Destroyed {
				opened.Bytes = []byte(unwrap([]byte(key), one.wraps, binding(d, s.place()+one.id)))
				r.requireCode(keyIDOf(opened.Bytes) == one.id, authentication, "key id of a key")
			}
			u.Keys[s.place()+one.id] = opened
		}
		for _, one := range s.primaries {
			if _, ok := u.Roots[one.root.String()]; !ok && r.keeps("primary under a root that is closed") {
				continue
			}
			p, ok := u.Primaries[s.place()]
			higher := one.epoch > p.Epoch && r.keeps("epoch of the primary that counts")
			if !ok || higher || one.epoch == p.Epoch && one.keyID > p.KeyID && r.keeps("key id of the primary that counts") {
				u.Primaries[s.place()] = Primary{one.epoch, one.keyID}
			}
		}
	}
}

// Seals returns the id of the key that seals, or the code with which sealing fails (section 7).
func (r *DocumentReader) Seals(d *Document, u *Unlocked, use, class byte) (keyID string, code Code) {
	if len(d.shreds) > 0 && len(d.slots)+len(d.keysets) == 0 && r.keeps("shredded document") {
		return "", keyDestroyed
	}
	place := string([]byte{use, class})
	p, there := u.Primaries[place]
	k, ok := u.Keys[place+p.KeyID]
	return p.KeyID, (&Reader{}).Seals(k.State, there && ok)
}

// Backup is a backup file.
type Backup struct {
	Environment string
	CreatedAt   uint64
	Documents   [][]byte
	slots       []record
	content     []byte
	mac         string
}

// ParseBackup parses a backup file (section 9).
func (r *DocumentReader) ParseBackup(b []byte) (k *Backup, code Code) {
	code = refusal(func() { k = r.backup(string(b)) })
	return k, code
}

func (r *DocumentReader) backup(b string) *Backup {
	f := r.version(b, "CFB")
	k := &Backup{Environment: r.sized(f, 64, "length of a backup's environment"), CreatedAt: f.uint(8)}
	r.require(strings.ToValidUTF8(k.Environment, "") == k.Environment, "environment of a backup is text")
	r.require(k.CreatedAt <= maxDocumentTime, "time of a backup")
	count := f.uint(2)
	r.require(count > 0, "backup has a slot")
	r.require(count <= 256, "count of a backup's slots")
	for range count {
		s := r.slot(f, true)
		k.slots = append(k.slots, s)
		r.require(s.kind == kmsSlot, "kind of a backup's slots")
		r.require(s.root == k.slots[0].root, "root of a backup's slots")
		r.require(s.root.line == strings.Repeat("\x00", 16), "line of a backup's slots")
		r.require(s.root.generation == 1, "generation of a backup's slots")
	}
	r.requireAscending(ids(k.slots), "slots of a backup")
	for n := f.uint(4); n > 0; n = f.uint(4) {
		encoded := f.take(int(n))
		d := &Document{Environment: k.Environment}
		if refusal(func() { d = r.document(encoded) }) != "" {
			r.require(false, "document of a backup")
		}
		r.require(d.Environment == k.Environment, "environment of a backup's document")
		r.require(d.Owner != "" || len(k.Documents) == 0, "system document comes first")
		k.Documents = append(k.Documents, []byte(encoded))
	}
	k.content, k.mac = []byte(b[:f.at]), f.take(32)
	r.require(f.at == len(b), "nothing follows a backup")
	return k
}

// OpenBackup verifies a backup file and returns its key.
func (r *DocumentReader) OpenBackup(k *Backup, kek, environment string) (key []byte, code Code) {
	code = refusal(func() {
		r.requireCode(k.Environment == environment, invalid, "environment of a backup")
		place := &Document{Environment: k.Environment}
		opened := r.openSlots(k.slots, place, Secret{Kind: "kms", Text: kek})[k.slots[0].root.String()]
		for i := range k.slots {
			mac := recordMAC(opened, place, "backup slot", "", k.slots[i].body)
			r.requireCode(mac == k.slots[i].mac, authentication, "MAC of a backup's slot")
		}
		r.requireCode(macOf(opened, "coffer/v1 backup", k.content) == k.mac, authentication, "MAC of a backup")
		key = []byte(opened)
	})
	return key, code
}
