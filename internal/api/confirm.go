package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

var (
	errOperator = &codes.Error{Of: "forbidden", Text: "only an operator's token, of tenant *, ends keys"}
	errConfirm  = &codes.Error{
		Of: "precondition_failed", Text: "the confirmation is not one of the last ten minutes for what is there now; ask without one again; nothing was changed",
	}
)

// confirmFor is for how long a confirmation is good.
const confirmFor = 10 * time.Minute

// confirmation names what somebody was shown: an operation, what it is about, and the tenant's keysets as
// they were. It is a digest and no secret: it keeps people and programs from ending what they have not looked
// at, and the token keeps others from it. So every server takes another's, and none keeps anything. A change
// of the keysets makes it invalid.
func confirmation(operation, about string, d *envelope.Document, at time.Time) (string, error) {
	content, err := d.Append(nil)
	if err != nil {
		return "", err
	}
	second := strconv.FormatInt(at.Unix(), 10)
	h := sha256.New()
	for _, part := range []string{"coffer confirmation 1", operation, about, second, string(content)} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return second + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil)), nil
}

// checkConfirmation returns errConfirm for one that is not of what is there, or too old.
func checkConfirmation(given, operation, about string, d *envelope.Document, now time.Time) error {
	second, _, _ := strings.Cut(given, ".")
	unix, err := strconv.ParseInt(second, 10, 64)
	if err != nil || now.Sub(time.Unix(unix, 0)).Abs() > confirmFor {
		return errConfirm
	}
	want, err := confirmation(operation, about, d, time.Unix(unix, 0))
	if err == nil && given != want {
		err = errConfirm
	}
	return err
}

// ended gives the tenant whose keys a request ends, which an operator alone may.
func (s *server) ended(c *call, f *fields) (string, error) {
	if c.id.Tenant != identity.EveryTenant {
		return "", s.refuse(c, errOperator)
	}
	return s.changed(c, f)
}

// asked is the audit log for what a call asks others to do: their events say who asked.
type asked struct {
	server *server
	call   *call
}

var _ audit.Recorder = asked{}

// Record implements audit.Recorder.
func (a asked) Record(ctx context.Context, events ...audit.Event) error {
	c := a.call
	for i := range events {
		events[i].RequestID, events[i].Issuer, events[i].Subject = c.requestID, c.id.Issuer, c.id.Subject
	}
	return a.server.audit.Record(ctx, events...)
}
