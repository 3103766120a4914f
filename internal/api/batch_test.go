package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// batchStep is an operation of a batch and its result.
type batchStep struct {
	Op    string `json:"op"`
	Key   string `json:"key"`
	Value []byte `json:"value,omitempty"`
	Class string `json:"class,omitempty"`
}

type batchResult struct {
	Status int
	ETag   string
	Code   string
	Entry  *struct{ Value []byte }
}

func (s *service) batch(steps []batchStep) []batchResult {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"operations": steps})
	require.NoError(s.t, err)
	var answer struct{ Results []batchResult }
	require.NoError(s.t, json.Unmarshal(s.do("POST", "/v1/cache:batch", body, "Content-Type", "application/json").is(s.t, 200).body, &answer))
	require.Len(s.t, answer.Results, len(steps))
	return answer.Results
}

// A batch has the same results as its operations sent one after another. There are few keys, so most operations follow
// another one on the same key, and both short and long values.
func TestBatchEqualsSingleRequests(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random, model := rand.New(rand.NewPCG(seed, 0)), map[string][]byte{}
		for range 30 {
			steps := make([]batchStep, 1+random.IntN(100))
			for i := range steps {
				one := batchStep{Op: []string{"get", "get", "set", "delete"}[random.IntN(4)], Key: fmt.Sprint("k", random.IntN(12))}
				if one.Op == "set" {
					one.Value, one.Class = make([]byte, 1+random.IntN(40)), "phi"
					if random.IntN(50) == 0 {
						one.Value = make([]byte, 20_000)
					}
					copy(one.Value, fmt.Sprint(random.Uint64()))
				}
				steps[i] = one
			}
			for i, got := range s.batch(steps) {
				one := steps[i]
				value, there := model[one.Key]
				switch {
				case one.Op == "set":
					require.Equal(t, 204, got.Status)
					require.NotEmpty(t, got.ETag)
					model[one.Key] = one.Value
				case !there:
					require.Equal(t, "not_found", got.Code, "%d: %s", i, one.Op)
				case one.Op == "delete":
					require.Equal(t, 204, got.Status)
					delete(model, one.Key)
				default:
					require.Equal(t, 200, got.Status)
					require.Equal(t, value, got.Entry.Value)
				}
			}
		}
	})
}

// counting counts the calls of a store.
type counting struct {
	kv.Store
	calls atomic.Int64
}

func (c *counting) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	c.calls.Add(1)
	return c.Store.Read(ctx, keys, limit)
}

func (c *counting) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	c.calls.Add(1)
	return c.Store.Write(ctx, writes)
}

// A batch makes few calls to the store, and the audit log has each use of a key.
func TestBatchMakesFewCalls(t *testing.T) {
	t.Parallel()
	store := &counting{Store: embedded(t)}
	s := start(t, store, nil)
	var steps []batchStep
	for i := range 50 {
		key := fmt.Sprint("k", i)
		steps = append(steps, batchStep{Op: "set", Key: key, Value: []byte("v"), Class: "phi"}, batchStep{Op: "get", Key: key}, batchStep{Op: "delete", Key: key})
	}
	s.batch(steps)
	require.EqualValues(t, 3, store.calls.Load())
	uses := map[audit.Action]int{}
	for _, e := range s.audit.take() {
		uses[e.Action]++
	}
	require.Equal(t, map[audit.Action]int{audit.KeySeal: 50, audit.KeyOpen: 50, audit.EntryDelete: 50}, uses)
}

// Each operation succeeds or fails alone.
func TestBatchOperationsFailAlone(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	s := start(t, rediskv.New(client), nil)
	s.do("PUT", "/v1/cache/good?class=phi", []byte("v")).is(t, 204)
	require.NoError(t, client.RPush(t.Context(), stored("list"), "x").Err())
	require.NoError(t, client.Set(t.Context(), stored("text"), "no package", 0).Err())
	pkg, err := client.Get(t.Context(), stored("good")).Bytes()
	require.NoError(t, err)
	require.NoError(t, client.Set(t.Context(), stored("moved"), pkg, 0).Err())
	results := s.batch([]batchStep{
		{Op: "get", Key: "good"}, {Op: "get", Key: "list"}, {Op: "get", Key: "none"}, {Op: "get", Key: "text"}, {Op: "get", Key: "moved"},
		{Op: "set", Key: "new", Value: []byte("n"), Class: "phi"}, {Op: "delete", Key: "none"}, {Op: "delete", Key: "list"}, {Op: "get", Key: "new"},
	})
	codes := make([]string, len(results))
	for i := range results {
		codes[i] = results[i].Code
	}
	require.Equal(t, []string{"", "authentication_failed", "not_found", "authentication_failed", "authentication_failed", "", "not_found", "", ""}, codes)
	require.Equal(t, "n", string(results[8].Entry.Value))

	late := base64.StdEncoding.EncodeToString([]byte("v"))
	got := s.do("POST", "/v1/cache:batch", []byte(`{"operations":[{"op":"set","key":"a","class":"phi","value":"`+late+`","ttl":"25h"},`+
		`{"op":"set","key":"b","class":"phi","value":"`+late+`"}]}`), "Content-Type", "application/json").is(t, 200)
	require.Contains(t, string(got.body), `"code":"ttl_out_of_range"`)
	s.do("GET", "/v1/cache/b", nil).is(t, 200)
	s.do("GET", "/v1/cache/a", nil).refused(t, "not_found")

	s.audit.fail(audit.ErrUnavailable)
	for _, one := range s.batch([]batchStep{{Op: "set", Key: "b", Value: []byte("lost"), Class: "phi"}, {Op: "get", Key: "good"}, {Op: "get", Key: "new"}}) {
		require.Equal(t, "audit_unavailable", one.Code)
		require.Nil(t, one.Entry)
	}
	s.audit.fail(nil)
	require.Equal(t, "v", string(s.do("GET", "/v1/cache/b", nil).is(t, 200).body))
}
