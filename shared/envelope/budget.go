package envelope

import (
	"sync/atomic"

	"github.com/coffer-storage/coffer/shared/format"
)

// Budget counts what one writer seals under one salt. Random nonces stay safe far below the bound of NIST SP
// 800-38D section 8.3, 2^32 messages to a key. It is safe for concurrent use; the zero Budget is unspent.
type Budget struct{ packages, bytes atomic.Uint64 }

// Spend reports whether one more package of size bytes may be sealed under the salt; false for a negative
// size. Once it reported false the writer draws a new salt, with a new Budget.
func (b *Budget) Spend(size int) bool {
	return size >= 0 && b.packages.Add(1) <= format.MaxPackagesPerSalt && b.bytes.Add(uint64(size)) <= format.MaxBytesPerSalt
}
