package rotation

import (
	"fmt"
	"runtime"
	"strings"
)

// recovered returns a function that calls do and turns a panic into an error, which holds the place in the code and nothing of
// the panic's value: that may hold data. A value of the store that nobody expected must not end the process, which would end
// again after each start.
func recovered(do func() error) func() error {
	return func() (err error) {
		defer func() {
			if recover() != nil {
				err = fmt.Errorf("rotation: panic at %s", placeOfPanic())
			}
		}()
		return do()
	}
}

// placeOfPanic returns the function and line that panicked, for a deferred function that recovers.
func placeOfPanic() string {
	var counters [16]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(3, counters[:])])
	for {
		f, more := frames.Next()
		if !more || !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", f.Function, f.Line)
		}
	}
}
