package api_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

func contract(t *testing.T) *openapi3.T {
	t.Helper()
	d, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	require.NoError(t, err)
	return d
}

// eachOperation runs a test for every operation of the document.
func eachOperation(t *testing.T, d *openapi3.T, test func(t *testing.T, path, method string, o *openapi3.Operation)) {
	seen := 0
	for path, item := range d.Paths.Map() {
		for method, o := range item.Operations() {
			t.Run(method+" "+path, func(t *testing.T) { test(t, path, method, o) })
			seen++
		}
	}
	require.GreaterOrEqual(t, seen, 20)
}

func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	d := contract(t)
	require.NoError(t, d.Validate(t.Context(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaFormatValidation()))
}

func TestDocumentHasAllCodes(t *testing.T) {
	t.Parallel()
	var table []any
	for _, row := range codes.Table {
		table = append(table, row.Code)
	}
	require.Equal(t, table, contract(t).Components.Schemas["Code"].Value.Enum)
}

func TestDocumentHasAllClasses(t *testing.T) {
	t.Parallel()
	var all []any
	for _, class := range classify.All {
		all = append(all, class.String())
	}
	require.Equal(t, all, contract(t).Components.Schemas["Class"].Value.Enum)
}

// scopesOf reads an operation's extension.
func scopesOf(t *testing.T, o *openapi3.Operation) []string {
	t.Helper()
	list, ok := o.Extensions["x-scope"].([]any)
	require.True(t, ok, "an operation states its scopes")
	scopes := []string{}
	for _, one := range list {
		scopes = append(scopes, one.(string))
	}
	return scopes
}

// routes.go and openapi.yaml have the same operations, with the same method, path, id and scopes.
func TestRoutesMatchDocument(t *testing.T) {
	t.Parallel()
	inDocument := map[string]api.Route{}
	eachOperation(t, contract(t), func(t *testing.T, path, method string, o *openapi3.Operation) {
		scopes, err := identity.ParseScopes(scopesOf(t, o))
		require.NoError(t, err)
		forEach, _ := o.Extensions["x-scope-each"].(bool)
		inDocument[method+" "+path] = api.Route{Method: method, Path: path, Operation: o.OperationID, Scopes: scopes.Names(), ForEach: forEach}
	})
	inTable := map[string]api.Route{}
	for _, r := range api.Routes() {
		inTable[r.Method+" "+r.Path] = r
	}
	require.Equal(t, inDocument, inTable)
	require.Len(t, inTable, len(api.Routes()), "no route is there twice")
}

func TestEveryOperationIsComplete(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	d := contract(t)
	eachOperation(t, d, func(t *testing.T, _, method string, o *openapi3.Operation) {
		require.False(t, ids[o.OperationID])
		ids[o.OperationID] = true
		require.NotEmpty(t, o.Summary)
		require.NotEmpty(t, o.Description)
		require.Len(t, o.Tags, 1)
		scopes := scopesOf(t, o)
		if len(scopes) == 0 {
			require.NotNil(t, o.Security)
			require.Empty(t, *o.Security, "what needs no scope needs no token, and says so")
			return
		}
		require.Nil(t, o.Security, "the document's own applies")
		for _, scope := range scopes {
			require.Contains(t, identity.AllScopes.Names(), scope)
			require.Contains(t, d.Info.Description, "`"+scope+"`")
		}
		for _, status := range []string{"401", "403", "429", "500"} {
			require.NotNil(t, o.Responses.Value(status), status)
		}
		for status, r := range o.Responses.Map() {
			problem := r.Value.Content["application/problem+json"]
			require.Equal(t, status >= "400" && method != http.MethodHead, problem != nil, status)
		}
	})
}

// Each example of a problem is one that the server can return.
func TestProblemExamplesMatchCodes(t *testing.T) {
	t.Parallel()
	seen := 0
	for name, r := range contract(t).Components.Responses {
		media := r.Value.Content.Get("application/problem+json")
		if media == nil {
			continue
		}
		examples := []any{media.Example}
		for _, e := range media.Examples {
			examples = append(examples, e.Value.Value)
		}
		for _, example := range slices.DeleteFunc(examples, func(e any) bool { return e == nil }) {
			problem := example.(map[string]any)
			row := codes.Table[codes.Number(problem["code"].(string))]
			require.EqualValues(t, row.Status, problem["status"], name)
			require.Equal(t, http.StatusText(row.Status), problem["title"], name)
			require.Equal(t, row.Retry, r.Value.Headers["Retry-After"] != nil, name)
			if row.Status >= 500 {
				require.Equal(t, row.Meaning, problem["detail"], name)
			}
			require.Contains(t, *r.Value.Description, "`"+row.Code+"`")
			seen++
		}
	}
	require.GreaterOrEqual(t, seen, 13)
}

// The example of a package opens under the key of the format's vectors, and yields the example of an opened value.
func TestPackageExampleOpens(t *testing.T) {
	t.Parallel()
	d := contract(t)
	decrypt := d.Paths.Value("/v1/decrypt").Post
	text, err := json.Marshal(decrypt.RequestBody.Value.Content.Get("application/json").Example)
	require.NoError(t, err)
	p, err := jsonform.Unmarshal(text)
	require.NoError(t, err)
	opened := decrypt.Responses.Value("200").Value.Content.Get("application/json").Example.(map[string]any)
	require.Equal(t, opened["text"], string(openExample(t, &p)))
	require.Equal(t, opened["keyId"], hex.EncodeToString(p.Header.KeyID[:]))
	require.Equal(t, opened["class"], classify.Class(p.Header.Class).String())
	require.Len(t, opened["context"], len(p.Header.Context.Map()))
}

func openExample(t *testing.T, p *format.Package) []byte {
	t.Helper()
	at := slices.IndexFunc(vectors.LoadPackages(), func(v vectors.Package) bool { return slices.Equal(v.Header.KeyID, p.Header.KeyID[:]) })
	require.GreaterOrEqual(t, at, 0)
	key, err := secret.FromBytes(vectors.LoadPackages()[at].Key)
	require.NoError(t, err)
	aead, err := key.MessageCipher(p.Header.Salt)
	require.NoError(t, err)
	header, err := p.Header.Append(nil)
	require.NoError(t, err)
	additional, err := format.AppendAdditionalData(nil, header, format.Place{})
	require.NoError(t, err)
	value, err := aead.Open(nil, nil, p.Body, additional)
	require.NoError(t, err)
	return value
}

func TestDocumentHasLimits(t *testing.T) {
	t.Parallel()
	d := contract(t)
	for what, n := range map[string]int{"bytes); the operator": format.MaxValue, "bytes of UTF-8 and may contain slashes": format.MaxName,
		"entries,": format.MaxContextEntries, "bytes encoded": format.MaxContext, "bytes | 413": format.MaxMediaType, "bytes | 431": api.MaxHeader} {
		require.Regexp(t, regexp.QuoteMeta(thousands(n))+" "+regexp.QuoteMeta(what), d.Info.Description)
	}
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return thousands(n/1000) + fmt.Sprintf(",%03d", n%1000)
}

// A key with slashes is one segment of the path for a client that follows the document, and bodies may be of any type.
func TestRequestsAreValidatedAgainstTheDocument(t *testing.T) {
	t.Parallel()
	router, err := gorillamux.NewRouter(contract(t))
	require.NoError(t, err)
	for _, c := range []struct {
		method, path, mediaType, body string
		ok                            bool
	}{
		{"PUT", "/v1/cache/" + url.PathEscape("a/../b c") + "?class=phi&ttl=1h30m", "application/dicom", "\x00\xff", true},
		{"PUT", "/v1/cache/k?class=phi", "", "", true},
		{"PUT", "/v1/cache/k", "text/plain", "x", false},
		{"PUT", "/v1/cache/k?class=secret", "text/plain", "x", false},
		{"PUT", "/v1/cache/k?class=phi&ttl=soon", "text/plain", "x", false},
		{"PATCH", "/v1/cache/k?ttl=90", "", "", true},
		{"PATCH", "/v1/cache/k", "", "", false},
		{"GET", "/v1/cache?prefix=a%2F&limit=1000", "", "", true},
		{"GET", "/v1/cache?limit=1001", "", "", false},
		{"POST", "/v1/cache:batch", "application/json", `{"operations":[{"op":"get","key":"k"},{"op":"set","key":"k","value":"","class":"pii"}]}`, true},
		{"POST", "/v1/cache:batch", "application/json", `{"operations":[{"op":"set","key":"k","value":""}]}`, false},
		{"POST", "/v1/cache:batch", "application/json", `{"operations":[{"op":"get","key":"k","ttl":"1h"}]}`, false},
		{"POST", "/v1/cache:batch", "application/json", `{"operations":[]}`, false},
		{"POST", "/v1/encrypt", "application/json", `{"text":"x","class":"phi"}`, true},
		{"POST", "/v1/encrypt", "application/json", `{"text":"x","data":"eA==","class":"phi"}`, false},
		{"POST", "/v1/encrypt", "application/json", `{"class":"phi"}`, false},
		{"POST", "/v1/encrypt", "text/plain", `{"text":"x","class":"phi"}`, false},
		{"POST", "/v1/sessions", "application/json", `{"data":{"a":1}}`, true},
		{"POST", "/v1/sessions", "application/json", `{"data":"text"}`, false},
		{"GET", "/v1/session", "", "", false},
		{"POST", "/v1/keys:rotate", "application/json", `{}`, true},
		{"POST", "/v1/keys:rotate", "application/json", `{"tenant":"clinic","compromised":true,"reason":"incident"}`, true},
		{"POST", "/v1/keys:rotate", "application/json", `{"class":"secret"}`, false},
		{"POST", "/v1/keys:shred", "application/json", `{"tenant":"clinic","more":1}`, false},
		{"POST", "/v1/keys:shred", "application/json", `{}`, false},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			request, err := http.NewRequest(c.method, c.path, strings.NewReader(c.body))
			require.NoError(t, err)
			if c.mediaType != "" {
				request.Header.Set("Content-Type", c.mediaType)
			}
			route, parameters, err := router.FindRoute(request)
			require.NoError(t, err)
			err = openapi3filter.ValidateRequest(t.Context(), &openapi3filter.RequestValidationInput{
				Request: request, PathParams: parameters, Route: route,
				Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
			})
			require.Equal(t, c.ok, err == nil, "%v", err)
		})
	}
}

func TestResponsesAreValidatedAgainstTheDocument(t *testing.T) {
	t.Parallel()
	router, err := gorillamux.NewRouter(contract(t))
	require.NoError(t, err)
	request, err := http.NewRequest("GET", "/v1/cache/k", nil)
	require.NoError(t, err)
	route, parameters, err := router.FindRoute(request)
	require.NoError(t, err)
	for mediaType, ok := range map[string]bool{"image/png": true, "application/vnd.coffer.package": true, "application/problem+json": false} {
		status := map[bool]int{true: 200, false: 404}[ok]
		err := openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: parameters, Route: route},
			Status:                 status, Header: http.Header{"Content-Type": {mediaType}}, Body: io.NopCloser(strings.NewReader(`{"code":"nonsense"}`)),
		})
		require.Equal(t, ok, err == nil, "%s: %v", mediaType, err)
	}
}
