package api

import (
	"context"
	"encoding/json"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// step is one operation of a batch, checked, and then its result.
type step struct {
	op       op
	key      string
	minClass classify.Class // of get
	item     cache.Item     // of set
	result   result
}

type op struct {
	name  string
	needs identity.Scopes
	run   func(s *server, ctx context.Context, c *call, steps []*step)
}

var (
	opGet    = op{"get", identity.CacheRead, (*server).runGets}
	opSet    = op{"set", identity.CacheWrite, (*server).runSets}
	opDelete = op{"delete", identity.CacheWrite, (*server).runDeletes}
)

func (s *server) readSteps(c *call) ([]step, error) {
	if _, err := query(c); err != nil {
		return nil, err
	}
	operations, err := s.batch(c, "operations")
	if err != nil {
		return nil, err
	}
	steps := make([]step, len(operations))
	for i, text := range operations {
		if steps[i], err = readStep(text); err != nil {
			return nil, &elementError{"operations", i, err}
		}
	}
	return steps, nil
}

func readStep(text json.RawMessage) (one step, err error) {
	all, err := object(text, []string{"op", "key"}, "minClass", "value", "contentType", "class", "ttl", "context")
	if err != nil {
		return one, err
	}
	f := fields{members: all}
	name := f.text("op")
	one.key = f.text("key")
	switch {
	case f.err != nil:
		return one, f.err
	case one.key == "":
		return one, invalid("the key is empty")
	case len(one.key) > format.MaxName:
		return one, format.ErrTooLarge
	}
	switch name {
	case "get":
		one.op = opGet
		if _, err := object(text, []string{"op", "key"}, "minClass"); err != nil {
			return one, err
		}
		one.minClass = f.class("minClass")
	case "set":
		one.op = opSet
		if _, err := object(text, []string{"op", "key", "value", "class"}, "contentType", "ttl", "context"); err != nil {
			return one, err
		}
		one.item = readItemJSON(&f, one.key)
	case "delete":
		one.op = opDelete
		_, err = object(text, []string{"op", "key"})
		return one, err
	default:
		return one, invalid("an op is get, set or delete")
	}
	return one, f.err
}

func readItemJSON(f *fields, key string) cache.Item {
	item := cache.Item{Key: key, Value: f.bytes("value"), Class: f.class("class"), Context: f.context("context")}
	var err error
	if item.MediaType, err = mediaType(f.text("contentType")); err != nil {
		f.fail(err)
	}
	if f.has("ttl") {
		if item.TTL, err = parseTTL(f.text("ttl")); err != nil {
			f.fail(err)
		}
	}
	return item
}
