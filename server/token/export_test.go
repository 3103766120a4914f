package token

import "time"

// SetClock makes a file's tokens live by another clock.
func (f *File) SetClock(now func() time.Time) { f.now = now }
