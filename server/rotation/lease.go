package rotation

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
)

// leaseTime is for how long a process is taken to be at work after it last said so.
const leaseTime = 15 * time.Second

// lease says who goes through entries now.
type lease struct {
	Holder string `json:"holder"`
	Until  int64  `json:"until"` // milliseconds since 1970
}

func (r *Rotator) leaseName() string { return "rotation of " + r.Environment }

// hold takes the lease, or holds it for longer, and reports whether it is this process's now.
func (r *Rotator) hold(ctx context.Context) (mine bool, err error) {
	defer func() { r.see(func(seen *Seen) { seen.Leading = mine }) }()
	now := r.now()
	old, held, err := r.lease(ctx)
	if err != nil || held.Holder != r.holder && held.Until > now && !r.silent(old) {
		return false, err
	}
	if held.Holder == r.holder && held.Until-now > leaseTime.Milliseconds()/2 {
		return true, nil
	}
	content, _ := json.Marshal(lease{r.holder, now + leaseTime.Milliseconds()}) // cannot fail: a text and a number
	return r.Keystore.Swap(ctx, keystore.Leases, r.leaseName(), old, content, 0)
}

// silent reports whether the lease has said the same for so long, by this process's clock, that its holder is
// not at work, whatever its clock says.
func (r *Rotator) silent(content []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !bytes.Equal(content, r.heard.content) {
		r.heard.content, r.heard.at = content, r.Now()
	}
	return r.Now().Sub(r.heard.at) >= leaseTime
}

// Release gives the lease up, if it is this process's.
func (r *Rotator) Release(ctx context.Context) error {
	r.see(func(seen *Seen) { seen.Leading = false })
	old, held, err := r.lease(ctx)
	if err != nil || held.Holder != r.holder {
		return err
	}
	_, err = r.Keystore.Swap(ctx, keystore.Leases, r.leaseName(), old, nil, 0)
	return err
}

func (r *Rotator) lease(ctx context.Context) (content []byte, held lease, err error) {
	content, err = r.Keystore.Get(ctx, keystore.Leases, r.leaseName())
	if err == nil && json.Unmarshal(content, &held) != nil {
		held = lease{} // nothing that holds anybody up
	}
	return content, held, err
}
