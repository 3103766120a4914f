package token

import "time"

// SetReplace makes a file's content be replaced by another function, and returns the former one.
func (f *File) SetReplace(replace func(path string, content []byte) error) (former func(path string, content []byte) error) {
	former, f.replace = f.replace, replace
	return former
}

// SetClock makes a file's tokens live by another clock.
func (f *File) SetClock(now func() time.Time) { f.now = now }
