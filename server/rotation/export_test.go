package rotation

import "time"

// SetLook sets how often Serve looks for something to do.
func (r *Rotator) SetLook(every time.Duration) { r.look = every }

// Announce announces the process, as Serve does all the time.
var Announce = (*Rotator).announceServer
