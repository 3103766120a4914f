package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// handlers are the operations of the document by their ids.
func (s *server) handlers() map[string]func(*call) error {
	return map[string]func(*call) error{
		"putEntry": s.putEntry, "getEntry": s.getEntry, "headEntry": s.headEntry, "patchEntry": s.patchEntry, "deleteEntry": s.deleteEntry,
		"listEntries": s.listEntries, "batchEntries": s.batchEntries,
		"encrypt": s.sealing(s.encrypt), "encryptBatch": s.sealing(s.encryptBatch), "decrypt": s.sealing(s.decrypt), "decryptBatch": s.sealing(s.decryptBatch),
		"createSession": s.createSession, "getSession": s.getSession, "extendSession": s.extendSession, "endSession": s.endSession,
		"listKeysets": s.listKeysets, "listRotations": s.listRotations, "listEvents": s.listEvents, "getEventHead": s.getEventHead,
		"rotateKeys": s.rotateKeys, "rollbackKeys": s.rollbackKeys, "disableKey": s.disableKey, "destroyKey": s.destroyKey, "shredTenant": s.shredTenant,
		"getMetrics": s.getMetrics, "getLive": s.livez, "getReady": s.readyz, "getDocument": s.getDocument, "getDocs": s.getDocs,
	}
}

// Operations are the ids of the document's operations.
func Operations() ([]string, error) {
	d, err := parsed()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, t := range d.Tags {
		for _, o := range t.Operations {
			ids = append(ids, o.OperationID)
		}
	}
	return ids, nil
}

// route gives each operation of the document its handler, and its scopes from there. It fails where one lacks
// the other.
func (s *server) route(e *echo.Echo) error {
	d, err := parsed()
	if err != nil {
		return err
	}
	handlers := s.handlers()
	for _, t := range d.Tags {
		for _, o := range t.Operations {
			handler, ok := handlers[o.OperationID]
			if !ok {
				return fmt.Errorf("api: operation %s has no handler", o.OperationID)
			}
			delete(handlers, o.OperationID)
			s.add(e, o, handler)
		}
	}
	if len(handlers) > 0 {
		return errors.New("api: a handler has no operation")
	}
	return nil
}

// echoPath turns a path of the document into one of Echo, where a colon begins a parameter and only * takes slashes.
var echoPath = strings.NewReplacer(":", `\:`, "{key}", "*")

// add routes an operation. HEAD is answered wherever GET is.
func (s *server) add(e *echo.Echo, o *operation, handler func(*call) error) {
	path := echoPath.Replace(o.Path)
	methods := []string{o.Method}
	if o.Method == http.MethodGet {
		methods = append(methods, http.MethodHead)
	}
	for _, method := range methods {
		if method == http.MethodHead && o.Method == http.MethodGet && o.OperationID == "getEntry" {
			continue // has an operation of its own
		}
		e.Add(method, path, func(c echo.Context) error { return handler(callOf(c)) })
		s.operations[method+" "+path] = o
	}
}

func (s *server) getMetrics(c *call) error {
	if _, err := query(c); err != nil {
		return err
	}
	s.metrics.Handler().ServeHTTP(c.Response(), c.Request())
	return nil
}

func (s *server) getDocument(c *call) error {
	c.Response().Header().Set(echo.HeaderContentType, "application/yaml")
	return write(c, http.StatusOK, OpenAPI)
}

func (s *server) getDocs(c *call) error {
	c.Response().Header().Set("Content-Security-Policy", s.page.Policy)
	c.Response().Header().Set(echo.HeaderContentType, echo.MIMETextHTMLCharsetUTF8)
	return write(c, http.StatusOK, s.page.HTML)
}
