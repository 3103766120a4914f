package keyring

import "github.com/coffer-storage/coffer/shared/format"

// IsForeignKey reports whether a key is another tenant's whose keys are in memory. It implements seal.ForeignKeyChecker, and visits all
// unlocked tenants, so ask only for a key that the tenant itself does not have. Keys of tenants that are locked are not found: a
// header names no owner, and only a pass over all documents would tell.
func (t *Tenant) IsForeignKey(id format.KeyID) bool {
	for _, other := range t.ring.held() {
		if s := other.state.Load(); other != t && s != nil && s.keys[id] != nil {
			return true
		}
	}
	return false
}
