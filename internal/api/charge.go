package api

// What costs as much as another request.
const (
	chargedBytes = 16 << 10 // of a value
	chargedKeys  = 25       // of a list
	chargedLines = 100      // of the audit log, searched
)

// charge counts a request as n more of its tenant's. What is refused is not charged.
func (s *server) charge(c *call, n int) { s.limits.Charge(c.id.Tenant, n) }
