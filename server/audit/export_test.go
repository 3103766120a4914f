package audit

import "time"

// AwaitLook returns when the next event will find what was done to its file.
func AwaitLook() { time.Sleep(2 * lookInterval) }
