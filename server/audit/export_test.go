package audit

import "time"

var (
	// Reasons is exported for tests outside the package.
	Reasons = reasons
	// ParseLine is exported for tests outside the package.
	ParseLine = parseLine
)

// WaitForNextCheck returns when the next event will find what was done to its file.
func WaitForNextCheck() { time.Sleep(2 * checkInterval) }

// WaitForKeeper returns when the keeper has ended what it was doing.
func (f *File) WaitForKeeper() {
	for range 2 { // the second send succeeds when the keeper has received the first one
		f.keeper.wake <- struct{}{}
	}
}
