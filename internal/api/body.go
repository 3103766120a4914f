package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/internal/limit"
)

// body reads the body of the request, up to the limit. The buffer of a small body has the announced size. A large body is read
// in steps as memory for it is reserved.
//
// Echo's body limit is not used: it would answer before the token is checked, and for operations without a body.
func (s *server) body(c *call) ([]byte, error) {
	r := c.Request()
	if r.Header.Get(echo.HeaderContentEncoding) != "" || r.Header.Get("Content-Range") != "" {
		return nil, invalid("Content-Encoding and Content-Range are not supported: send the whole value, not encoded")
	}
	if r.ContentLength > s.maxBody {
		return nil, errTooLarge
	}
	start := time.Now()
	c.readingBody = true
	limited := http.MaxBytesReader(c.Response().Writer, r.Body, s.maxBody)
	var value []byte
	var err error
	switch n := r.ContentLength; {
	case n < 0:
		value, err = s.readUnknownSize(c, limited)
	case n > uncounted:
		value, err = s.readLarge(c, limited, int(n))
	default:
		s.charge(c, int(n)/bytesPerCharge)
		value = slices.Grow(c.memory.buffer(int(n)), int(n))[:n]
		_, err = io.ReadFull(limited, value)
	}
	if c.bodyReceived = err == nil; time.Since(start) > s.timeout/100 {
		c.timeLimit = nil
	}
	return value, bodyError(err)
}

// readLarge reads a body of n bytes, more than uncounted. It reserves memory for the whole body at once, so that of many
// concurrent uploads some succeed. It does so after the first bytes were received, so that a body that is announced but not
// sent reserves nothing.
func (s *server) readLarge(c *call, body io.Reader, n int) ([]byte, error) {
	first := make([]byte, uncounted)
	if _, err := io.ReadFull(body, first); err != nil {
		return nil, err
	}
	if err := s.reserve(c, valueCopies*n); err != nil {
		return nil, err
	}
	s.charge(c, n/bytesPerCharge)
	value := make([]byte, n)
	_, err := io.ReadFull(body, value[copy(value, first):])
	return value, err
}

// readUnknownSize reads a body whose size was not announced, and reserves memory as the body grows.
func (s *server) readUnknownSize(c *call, body io.Reader) ([]byte, error) {
	value := make([]byte, 0, uncounted)
	for {
		n, err := body.Read(value[len(value):cap(value)])
		value = value[:len(value)+n]
		if err == io.EOF {
			s.charge(c, len(value)/bytesPerCharge)
			return value, nil
		}
		if err != nil {
			return nil, err
		}
		if len(value) == cap(value) {
			if err := s.reserve(c, valueCopies*len(value)); err != nil {
				return nil, err
			}
			value = slices.Grow(value, len(value))
		}
	}
}

// bodyError returns the error for a body that was not received. The body's size, its time limit and a shutdown have errors of
// their own. Everything else is the client's fault.
func bodyError(err error) error {
	switch translated := translate(err); {
	case err == nil:
		return nil
	case errors.Is(err, net.ErrClosed):
		return errShutdown
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlowBody
	case translated != err || errors.Is(err, limit.ErrRateLimited):
		return translated
	}
	return errors.Join(errBody, err)
}

const (
	// maxDrained is the longest rest of a body that is read to keep the connection open.
	maxDrained = 256 << 10
	// maxDiscarded is how much of a body is read after its request was refused: four times the largest value.
	maxDiscarded = 256 << 20
	// The body of a request that may be part of a flood is read at about 3 MiB a second.
	discardChunk = 256 << 10
	discardPause = 80 * time.Millisecond
)

// mayBeSending reports whether the client may be sending a body. A client that waits for 100 Continue (RFC 9110 section
// 10.1.1) sends nothing before the body is read.
func (c *call) mayBeSending() bool {
	r := c.Request()
	return r.ContentLength != 0 && !c.bodyReceived && (c.readingBody || r.Header.Get("Expect") == "")
}

// writeBeforeBody sends a response before the body was received, and then reads and discards the body, up to maxDiscarded and
// the time limit for a request. Without that, a client that sends its whole request before it reads would see a reset
// connection instead of the response, and net/http would read up to 256 KiB before it sends the response.
func (s *server) writeBeforeBody(c *call, status int, body []byte) {
	response := c.Response()
	if n := c.Request().ContentLength; n < 0 || n > maxDrained {
		response.Header().Set(echo.HeaderConnection, "close")
	}
	connection := http.NewResponseController(response.Writer)
	_ = connection.EnableFullDuplex() // otherwise the body cannot be read after the response is written
	if write(c, status, body) != nil || connection.Flush() != nil {
		return
	}
	stop := context.AfterFunc(s.shutdown, func() { _ = connection.SetReadDeadline(time.Now()) })
	defer stop()
	c.discardBody()
}

// discardBody reads the rest of the body, slowly if the request may be part of a flood. The tenant is not charged.
func (c *call) discardBody() {
	for range maxDiscarded / discardChunk {
		if _, err := io.CopyN(io.Discard, c.Request().Body, discardChunk); err != nil {
			return
		}
		if c.delayed {
			time.Sleep(discardPause)
		}
	}
}
