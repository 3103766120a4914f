package oidc

import "time"

// Constants that tests need.
const (
	FreshFor      = freshFor
	UsableFor     = usableFor
	MinFetchPause = minFetchPause
	MaxToken      = maxToken
)

// SetClock sets the clock of a provider.
func (p *Provider) SetClock(now func() time.Time) { p.now = now }

// SetFetchTimeout sets the timeout of fetches of keys.
func (p *Provider) SetFetchTimeout(d time.Duration) { p.keys.timeout = d }

// TakeSlots occupies all slots to verify until release is called.
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
