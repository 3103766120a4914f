package envelope

import (
	"sync/atomic"

	"github.com/coffer-storage/coffer/shared/format"
)

// Budget limits how much one writer seals under one salt to format.MaxPackagesPerSalt packages and
// format.MaxBytesPerSalt bytes. This is far below the limit for random nonces of 2^32 messages per key (NIST SP 800-38D
// section 8.3). The zero Budget is ready to use. It is safe for concurrent use.
type Budget struct{ packages, bytes atomic.Uint64 }

// Spend counts one more package with a value of size bytes, and reports whether the writer may seal it under the salt. It
// returns false for a negative size. If it returns false for another size, the writer must draw a new salt and start a
// new Budget.
func (b *Budget) Spend(size int) bool {
	return size >= 0 && b.packages.Add(1) <= format.MaxPackagesPerSalt && b.bytes.Add(uint64(size)) <= format.MaxBytesPerSalt
}
