package audit

import "time"

var (
	// Reasons is exported for tests outside the package.
	Reasons = reasons
	// ParseLine is exported for tests outside the package.
	ParseLine = parseLine
)

// WaitForNextCheck waits until the writer checks its file again before the next event.
func WaitForNextCheck() { time.Sleep(2 * checkInterval) }

// WaitForKeeper waits until the head keeper has finished its present work.
func (f *File) WaitForKeeper() {
	for range 2 { // the second send succeeds when the keeper has received the first one
		f.keeper.wake <- struct{}{}
	}
}
