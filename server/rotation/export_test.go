package rotation

import "time"

// SetLook sets how often Serve looks for what there is to do.
func (r *Rotator) SetLook(every time.Duration) { r.look = every }
