package client

import (
	"context"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
)

// Operation is one operation of a batch. GetOperation, SetOperation and DeleteOperation create it.
type Operation struct {
	Op          string            `json:"op"`
	Key         string            `json:"key"`
	MinClass    string            `json:"minClass,omitempty"`
	Value       *[]byte           `json:"value,omitempty"`
	ContentType string            `json:"contentType,omitempty"`
	Class       string            `json:"class,omitempty"`
	TTL         string            `json:"ttl,omitempty"`
	Context     map[string]string `json:"context,omitempty"`
}

// GetOperation reads a value whose class is minClass or higher. The zero class accepts every value.
func GetOperation(key string, minClass classify.Class) Operation {
	o := Operation{Op: "get", Key: key}
	if minClass != 0 {
		o.MinClass = minClass.String()
	}
	return o
}

// SetOperation stores a value. A ttl of 0 means the longest time that the class allows. The context may be nil.
func SetOperation(key string, value []byte, class classify.Class, ttl time.Duration, context map[string]string) Operation {
	o := Operation{Op: "set", Key: key, Value: &value, Class: class.String(), Context: context}
	if value == nil {
		o.Value = &[]byte{}
	}
	if ttl != 0 {
		o.TTL = ttl.String()
	}
	return o
}

// DeleteOperation deletes an entry.
func DeleteOperation(key string) Operation { return Operation{Op: "delete", Key: key} }

// OperationResult is the result of one operation of a batch.
type OperationResult struct {
	Err   error  // an *Error if the operation failed
	ETag  string // ETag of the entry, for a get and a set
	Entry Entry  // the entry, for a get
}

type entryJSON struct {
	Value       []byte            `json:"value"`
	ContentType string            `json:"contentType"`
	Class       string            `json:"class"`
	KeyID       string            `json:"keyId"`
	EncryptedAt time.Time         `json:"encryptedAt"`
	Context     map[string]string `json:"context"`
}

// resultJSON has the members of every result of a batch.
type resultJSON struct {
	Status int    `json:"status"`
	Code   string `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"`
}

func (r *resultJSON) err() error {
	if r.Status < http.StatusBadRequest {
		return nil
	}
	return &Error{Status: r.Status, Detail: r.Detail, code: r.Code}
}

type operationResultJSON struct {
	resultJSON
	Entry *entryJSON `json:"entry,omitempty"`
	ETag  string     `json:"etag,omitempty"`
}

type resultsJSON[T any] struct {
	Results []T `json:"results"`
}

type operationsJSON struct {
	Operations []Operation `json:"operations"`
}

// Batch runs up to 1,000 operations in order and returns one result for each. Each succeeds or fails alone, so check every
// result. Batch is retried only if all operations are gets or all are sets, because other batches could have other results the
// second time.
func (c *Client) Batch(ctx context.Context, operations []Operation) ([]OperationResult, error) {
	for i := range operations {
		if err := checkContext(operations[i].Context); err != nil || !utf8.ValidString(operations[i].Key) {
			return nil, errText
		}
	}
	r := newRequest(http.MethodPost, "/v1/cache:batch").withJSON(operationsJSON{operations})
	r.once = slices.ContainsFunc(operations, func(o Operation) bool { return o.Op == "delete" || o.Op != operations[0].Op })
	var response resultsJSON[operationResultJSON]
	if err := c.send(ctx, r, decodeResults(&response, len(operations))); err != nil {
		return nil, err
	}
	results := make([]OperationResult, len(operations))
	for i, one := range response.Results {
		results[i] = OperationResult{Err: one.err(), ETag: one.ETag}
		if e := one.Entry; e != nil {
			class, err := classify.Parse(e.Class)
			if err != nil {
				return nil, notCoffer(http.StatusOK)
			}
			info := Info{Class: class, KeyID: e.KeyID, EncryptedAt: e.EncryptedAt, Context: e.Context, ETag: one.ETag, ContentType: e.ContentType}
			results[i].Entry = Entry{Info: info, Value: e.Value}
		}
	}
	return results, nil
}

// decodeResults decodes a response that must have n results.
func decodeResults[T any](into *resultsJSON[T], n int) func(*http.Response, []byte) error {
	return func(response *http.Response, body []byte) error {
		*into = resultsJSON[T]{}
		if err := decode(into)(response, body); err != nil || len(into.Results) != n {
			return notCoffer(response.StatusCode)
		}
		return nil
	}
}
