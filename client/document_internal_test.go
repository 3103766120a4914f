package client

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// The types are written by hand. Each has exactly the members of its schema, and omits only optional ones.
func TestTypesMatchDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../internal/api/openapi.yaml")
	require.NoError(t, err)
	document, err := openapi3.NewLoader().LoadFromData(text)
	require.NoError(t, err)
	types := map[string]any{
		"Health": Health{}, "FailingCheck": FailingCheck{}, "KeyPage": keyPage{}, "Entry": entryJSON{}, "BatchRequest": operationsJSON{}, "BatchResult": operationResultJSON{},
		"BatchResponse": resultsJSON[operationResultJSON]{}, "EncryptRequest": sealingJSON{}, "EncryptBatchRequest": itemsJSON[sealingJSON]{},
		"EncryptResult": encryptResultJSON{}, "EncryptBatchResponse": resultsJSON[encryptResultJSON]{}, "DecryptBatchRequest": itemsJSON[Package]{},
		"DecryptResult": decryptResultJSON{}, "DecryptBatchResponse": resultsJSON[decryptResultJSON]{}, "Package": Package{}, "Opened": openedJSON{},
		"SessionRequest": newSessionJSON{}, "KeysetPage": keysetPage{}, "Keyset": Keyset{}, "KeyInfo": KeyInfo{},
		"Rotations": Rotations{}, "Sweep": Sweep{}, "Rotation": Rotation{}, "RotationFailure": RotationFailure{},
		"KeyRetirement": KeyRetirement{}, "Shredding": Shredding{},
		"RotateRequest": rotateJSON{}, "RollbackRequest": rollbackJSON{}, "RetireRequest": retireJSON{}, "ShredRequest": shredJSON{},
		"EventPage": eventPage{}, "Event": Event{}, "EventHead": EventHead{},
	}
	for name, schema := range document.Components.Schemas {
		if value, ok := types[name]; ok {
			require.Equal(t, members(schema.Value), tagged(reflect.TypeOf(value)), name)
			delete(types, name)
		}
	}
	require.Empty(t, types, "no such schema")
	metadata := members(document.Components.Schemas["Metadata"].Value)
	metadata["iv"] = false // chunked packages have no iv, but this API has no chunked packages
	require.Equal(t, metadata, tagged(reflect.TypeOf(Package{}.Metadata)))

	// One type stands for several schemas.
	require.Equal(t, union(document, "BatchGet", "BatchSet", "BatchDelete"), slices.Sorted(maps.Keys(tagged(reflect.TypeOf(Operation{})))))
	require.Equal(t, union(document, "NewSession", "Session", "SessionTimes"), slices.Sorted(maps.Keys(tagged(reflect.TypeOf(Session{})))))
	for name, schema := range document.Components.Schemas {
		problem := map[string]bool{"title": true, "status": true, "code": true, "detail": true, "requestId": true, "checks": false}
		require.Equal(t, name == "Problem", maps.Equal(problem, members(schema.Value)))
	}
}

// members returns the members of a schema, and whether each is required.
func members(schema *openapi3.Schema) map[string]bool {
	all := map[string]bool{}
	for name := range schema.Properties {
		all[name] = slices.Contains(schema.Required, name)
	}
	return all
}

func union(document *openapi3.T, names ...string) []string {
	all := map[string]bool{}
	for _, name := range names {
		maps.Copy(all, members(document.Components.Schemas[name].Value))
	}
	return slices.Sorted(maps.Keys(all))
}

// tagged returns the JSON members of a struct, and whether each is always written.
func tagged(of reflect.Type) map[string]bool {
	all := map[string]bool{}
	for _, field := range reflect.VisibleFields(of) {
		if name, options, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			all[name] = options == ""
		}
	}
	return all
}
