package oidc

import "time"

// The times and sizes that the tests hold the package to.
const (
	FreshFor  = freshFor
	UsableFor = usableFor
	Pause     = pause
	MaxToken  = maxToken
)

// SetClock makes a provider's tokens live by another clock.
func (p *Provider) SetClock(now func() time.Time) { p.now = now }

// SetFetchTimeout bounds a provider's fetches of keys.
func (p *Provider) SetFetchTimeout(d time.Duration) { p.keys.timeout = d }

// TakeSlots takes all turns to verify until they are released.
func (p *Provider) TakeSlots() (release func()) {
	for range cap(p.verified.slots) {
		p.verified.slots <- struct{}{}
	}
	return func() {
		for range cap(p.verified.slots) {
			<-p.verified.slots
		}
	}
}
