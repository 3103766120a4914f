package audit

import "time"

// AwaitLook returns when the next event will find what was done to its file.
func AwaitLook() { time.Sleep(2 * lookInterval) }

// AwaitKeeper returns when the keeper has ended what it was doing.
func (f *File) AwaitKeeper() {
	for range 2 { // the keeper has received the first one when there is room for the second one
		f.keeper.wake <- struct{}{}
	}
}
