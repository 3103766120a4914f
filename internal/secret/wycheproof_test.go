package secret

import (
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/stretchr/testify/require"
)

// hexBytes is how Wycheproof writes bytes.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// vectors reads a file of Wycheproof with test groups of type G.
func vectors[G any](t *testing.T, name string) []G {
	t.Helper()
	b, err := fs.ReadFile(wycheproof.TestVectors, name)
	require.NoError(t, err)
	var file struct{ TestGroups []G }
	require.NoError(t, json.Unmarshal(b, &file))
	return file.TestGroups
}

// outcomes counts vectors. A run without any vector must fail.
type outcomes struct{ valid, invalid int }

func (o *outcomes) check(t *testing.T, what string) {
	t.Helper()
	require.Positive(t, o.valid)
	require.Positive(t, o.invalid)
	t.Logf("%s: %d valid and %d invalid vectors", what, o.valid, o.invalid)
}

// Every vector with 256-bit keys, 96-bit nonces and 128-bit tags opens or is refused by the cipher that Seal,
// Open, Wrap and Unwrap use. It draws its own nonces, so sealing is checked by opening what it sealed.
func TestWycheproofAESGCM(t *testing.T) {
	type group struct {
		KeySize, IVSize, TagSize int
		Tests                    []struct {
			TcID                       int
			Result                     string
			Key, IV, AAD, Msg, CT, Tag hexBytes
		}
	}
	var count outcomes
	for _, g := range vectors[group](t, "aes_gcm_test.json") {
		if g.KeySize != 256 || g.IVSize != 96 {
			continue
		}
		require.Equal(t, 128, g.TagSize)
		for _, v := range g.Tests {
			aead, err := newCipher(v.Key)
			require.NoError(t, err)
			body := append(append(append([]byte(nil), v.IV...), v.CT...), v.Tag...)
			got, err := aead.Open(nil, nil, body, v.AAD)
			if v.Result != "valid" {
				require.Error(t, err, v.TcID)
				count.invalid++
				continue
			}
			require.NoError(t, err, v.TcID)
			require.Equal(t, []byte(v.Msg), append([]byte{}, got...), v.TcID)
			got, err = aead.Open(nil, nil, aead.Seal(nil, nil, v.Msg, v.AAD), v.AAD)
			require.NoError(t, err, v.TcID)
			require.Equal(t, []byte(v.Msg), append([]byte{}, got...), v.TcID)
			count.valid++
		}
	}
	count.check(t, "AES-256-GCM")
}

func TestWycheproofHKDF(t *testing.T) {
	type group struct {
		Tests []struct {
			TcID            int
			Result          string
			IKM, Salt, Info hexBytes
			Size            int
			OKM             hexBytes
		}
	}
	var count outcomes
	for _, g := range vectors[group](t, "hkdf_sha256_test.json") {
		for _, v := range g.Tests {
			got, err := HKDF(v.IKM, v.Salt, string(v.Info), v.Size)
			if v.Result != "valid" {
				require.Error(t, err, v.TcID)
				count.invalid++
				continue
			}
			require.NoError(t, err, v.TcID)
			require.Equal(t, []byte(v.OKM), got, v.TcID)
			count.valid++
		}
	}
	count.check(t, "HKDF-SHA256")
}

func TestWycheproofPBKDF2(t *testing.T) {
	type group struct {
		Tests []struct {
			TcID, IterationCount, DkLen int
			Result                      string
			Password, Salt, DK          hexBytes
		}
	}
	run := 0
	for _, g := range vectors[group](t, "pbkdf2_hmacsha256_test.json") {
		for _, v := range g.Tests {
			require.Equal(t, "valid", v.Result) // the file has no others
			got, err := PBKDF2(string(v.Password), v.Salt, v.IterationCount, v.DkLen)
			require.NoError(t, err, v.TcID)
			require.Equal(t, []byte(v.DK), got, v.TcID)
			run++
		}
	}
	require.Positive(t, run)
	t.Logf("PBKDF2-HMAC-SHA256: %d vectors", run)
}
