package plain

import (
	"bytes"
	"compress/zlib"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/stretchr/testify/require"
)

type chunkedTest struct {
	TcID      int    `json:"tcId"`
	Key       string `json:"key"`
	Context   string `json:"ctx"`
	Sealed    string `json:"ct"`
	Length    int    `json:"msgLength"`
	SHA512    string `json:"msgSha512"`
	Result    string `json:"result"`
	AEADKey   string `json:"aeadKey"`
	BaseNonce string `json:"baseNonce"`
}

// The code that makes the chunked bodies of the vectors passes Wycheproof's vectors of the scheme.
func TestWycheproof(t *testing.T) {
	text, err := fs.ReadFile(wycheproof.TestVectors, "c2sp_chunked_encryption_aes_256_gcm_test.json")
	require.NoError(t, err)
	var file struct {
		TestGroups []struct{ Tests []chunkedTest }
	}
	require.NoError(t, json.Unmarshal(text, &file))
	ran := 0
	for _, group := range file.TestGroups {
		for _, test := range group.Tests {
			check(t, test)
			ran++
		}
	}
	require.GreaterOrEqual(t, ran, 35)
}

func check(t *testing.T, test chunkedTest) {
	key, context := unhex(t, test.Key), unhex(t, test.Context)
	r, err := zlib.NewReader(bytes.NewReader(unhex(t, test.Sealed)))
	require.NoError(t, err)
	body, err := io.ReadAll(r)
	require.NoError(t, err)
	if len(key) != 32 {
		return // Coffer's input key always has 32 bytes
	}
	plaintext, err := OpenChunks(key, context, body)
	if test.Result != "valid" {
		require.Error(t, err, test.TcID)
		return
	}
	require.NoError(t, err, test.TcID)
	digest := sha512.Sum512(plaintext)
	require.Equal(t, test.SHA512, hex.EncodeToString(digest[:]), test.TcID)
	s := NewSchedule(key, body[:ChunkedSalt], context)
	require.Equal(t, test.AEADKey+test.BaseNonce, hex.EncodeToString(s.Key)+hex.EncodeToString(s.BaseNonce))
	require.Equal(t, body, SealChunks(key, body[:ChunkedSalt], context, plaintext), test.TcID)
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}
