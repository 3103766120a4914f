package api

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// This file has the arguments of operations in JSON bodies.

// parseBatchOp returns one operation of a batch.
func parseBatchOp(text json.RawMessage) (op batchOp, err error) {
	all, err := parseObject(text, []string{"op", "key"}, "minClass", "value", "contentType", "class", "ttl", "context")
	if err != nil {
		return op, err
	}
	kind := all.string("op")
	op.key = all.string("key")
	switch {
	case all.err != nil:
		return op, all.err
	case op.key == "":
		return op, invalid("the key is empty")
	case len(op.key) > format.MaxName:
		return op, format.ErrTooLarge
	}
	switch kind {
	case "get":
		op.kind = getOp
		if _, err := parseObject(text, []string{"op", "key"}, "minClass"); err != nil {
			return op, err
		}
		op.minClass = all.class("minClass")
	case "set":
		op.kind = setOp
		if _, err := parseObject(text, []string{"op", "key", "value", "class"}, "contentType", "ttl", "context"); err != nil {
			return op, err
		}
		op.item = parseItemJSON(&all, op.key)
	case "delete":
		op.kind = deleteOp
		_, err = parseObject(text, []string{"op", "key"})
		return op, err
	default:
		return op, invalid("op is get, set or delete")
	}
	return op, all.err
}

func parseItemJSON(o *object, key string) cache.Item {
	item := cache.Item{Key: key, Value: o.base64("value"), Class: o.class("class"), Context: o.context("context")}
	var err error
	if item.MediaType, err = parseMediaType(o.string("contentType")); err != nil {
		o.fail(err)
	}
	if o.has("ttl") {
		if item.TTL, err = parseDuration(o.string("ttl")); err != nil {
			o.fail(err)
		}
	}
	return item
}

// plaintext is a value to seal into a package.
type plaintext struct {
	valueType format.ValueType
	value     []byte
	class     classify.Class
	context   map[string]string
}

func parsePlaintext(text json.RawMessage) (p plaintext, err error) {
	o, err := parseObject(text, []string{"class"}, "text", "data", "context")
	if err != nil {
		return p, err
	}
	if o.has("text") == o.has("data") {
		return p, invalid("the value must be in text or in data, but not in both")
	}
	p = plaintext{valueType: format.Text, class: o.class("class"), context: o.context("context")}
	if o.has("text") {
		p.value = o.utf8("text")
	} else {
		p.valueType, p.value = format.Bytes, o.base64("data")
	}
	return p, o.err
}

// parseNewSession returns the data and the time to live of a new session. maxTTL is the longest time to live.
func parseNewSession(text json.RawMessage, maxTTL time.Duration) (data []byte, ttl time.Duration, err error) {
	o, err := parseObject(text, []string{"data"}, "ttl")
	if err != nil {
		return nil, 0, err
	}
	data = bytes.TrimSpace(o.members["data"])
	if _, err := parseMembers(data, len(data), errUnknownMember); err != nil {
		return nil, 0, err
	}
	if !o.has("ttl") {
		return data, min(defaultSessionTTL, maxTTL), nil
	}
	if ttl, err = parseDuration(o.string("ttl")); err != nil {
		return nil, 0, err
	}
	return data, ttl, nil
}

// keyChange has the arguments of a request that changes a tenant's keys.
type keyChange struct {
	tenant      *string // nil if the request names no tenant
	class       classify.Class
	compromised bool
	key         lifecycle.Key // without its tenant
	reason      audit.Reason
	confirm     *string // nil if the request does not confirm the change
}

// parseKeyChange reads the body of a request that changes keys. Such a request has no query.
func (s *server) parseKeyChange(c *call, required []string, optional ...string) (k keyChange, err error) {
	if err := parseNoQuery(c); err != nil {
		return k, err
	}
	text, err := s.jsonBody(c)
	if err != nil {
		return k, err
	}
	o, err := parseObject(text, required, optional...)
	if err != nil {
		return k, err
	}
	if o.has("tenant") {
		tenant := o.string("tenant")
		k.tenant = &tenant
	}
	if o.has("confirm") {
		confirm := o.string("confirm")
		k.confirm = &confirm
	}
	k.class, k.compromised = o.class("class"), o.bool("compromised")
	if o.has("key") {
		k.key = parseKeyName(&o)
	}
	if k.reason, err = audit.ParseReason(o.string("reason")); err != nil {
		o.fail(err)
	}
	return k, o.err
}

// parseKeyName returns the use, class and id of a key.
func parseKeyName(o *object) (key lifecycle.Key) {
	key.Class = o.class("class")
	use, err := format.ParseUse(o.string("use"))
	if err != nil {
		o.fail(invalid("the use is cache, service, field or file"))
	}
	key.Use = use
	id, err := hex.DecodeString(o.string("key"))
	if err != nil || len(id) != len(key.ID) {
		o.fail(invalid("the key is an id of 64 hexadecimal digits"))
	}
	copy(key.ID[:], id)
	return key
}
