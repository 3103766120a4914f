package api

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	// maxKept is the longest rest of a body that is read so that the connection can go on.
	maxKept = 256 << 10
	// maxDiscarded bounds how much of a body is read after its request was refused: four times the largest value.
	maxDiscarded = 256 << 20
	// A flood's bodies are read at 3 MiB a second on each connection.
	discardPiece = 256 << 10
	discardPause = 80 * time.Millisecond
)

// stillSends reports whether the client may be sending a body. A client that waits for 100
// Continue (RFC 9110 section 10.1.1) sends nothing before the body is read.
func (c *call) stillSends() bool {
	r := c.Request()
	return r.ContentLength != 0 && !c.received && (c.reading || r.Header.Get("Expect") == "")
}

// writeEarly answers a request whose body was not read, and then discards the body, up to a bound and to the time for
// reading a request. Otherwise the connection would be reset under a client that sends everything before it reads, and the
// client would see that instead of the answer; and net/http would read up to 256 KiB before it sends the answer.
func (s *server) writeEarly(c *call, status int, body []byte) {
	response := c.Response()
	if n := c.Request().ContentLength; n < 0 || n > maxKept {
		response.Header().Set(echo.HeaderConnection, "close")
	}
	connection := http.NewResponseController(response.Writer)
	_ = connection.EnableFullDuplex() // otherwise the body cannot be read after the answer
	if write(c, status, body) != nil || connection.Flush() != nil {
		return
	}
	stop := context.AfterFunc(s.ending, func() { _ = connection.SetReadDeadline(time.Now()) })
	defer stop()
	c.discard()
}

// discard reads the body, slowly if the request may be part of a flood. It costs the tenant nothing, like all that is refused.
func (c *call) discard() {
	for range maxDiscarded / discardPiece {
		if _, err := io.CopyN(io.Discard, c.Request().Body, discardPiece); err != nil {
			return
		}
		if c.paused {
			time.Sleep(discardPause)
		}
	}
}
