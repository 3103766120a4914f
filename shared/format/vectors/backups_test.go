package vectors_test

import (
	"crypto/hmac"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

func TestBackups(t *testing.T) {
	documents := map[string][]byte{}
	for _, d := range vectors.Documents().Documents {
		documents[d.Name] = d.Bytes
	}
	for _, v := range vectors.OfBackups().Backups {
		t.Run(v.Name, func(t *testing.T) {
			b, content, err := envelope.ParseBackup(v.Bytes)
			require.NoError(t, err)
			require.Equal(t, v.Environment, b.Environment)
			require.Equal(t, v.CreatedAt, b.CreatedAt)
			require.Equal(t, []byte(v.MAC), b.MAC[:])
			require.Equal(t, []byte(v.MAC), plain.BackupMAC(v.Key, content))
			require.Len(t, b.Slots, len(v.KEKs))
			for i := range b.Slots {
				key, err := unlock(&b.Slots[i], b.Place().BindRoot(b.Slots[i].RootID), v.KEKs[i])
				require.NoError(t, err)
				require.Equal(t, []byte(v.Key), key)
				require.Equal(t, []byte(v.KeyID), b.Slots[i].RootID[:])
			}
			require.Len(t, b.Documents, len(v.Documents))
			for i, name := range v.Documents {
				require.Equal(t, documents[name], b.Documents[i])
			}
			again, err := b.AppendContent(nil)
			require.NoError(t, err)
			require.Equal(t, content, again)
		})
	}
}

func TestInvalidBackups(t *testing.T) {
	for _, v := range vectors.OfBackups().Invalid {
		t.Run(v.Name, func(t *testing.T) {
			_, _, err := envelope.ParseBackup(v.Bytes.Bytes())
			requireCode(t, v.Code, err)
		})
	}
}

func TestRefusedBackups(t *testing.T) {
	for _, v := range vectors.OfBackups().Refusals {
		t.Run(v.Name, func(t *testing.T) {
			b, content, err := envelope.ParseBackup(v.Bytes)
			require.NoError(t, err)
			key, err := unlock(&b.Slots[0], b.Place().BindRoot(b.Slots[0].RootID), v.KEK)
			if err == nil && !hmac.Equal(b.MAC[:], plain.BackupMAC(key, content)) {
				err = envelope.ErrAuthentication
			}
			requireCode(t, v.Code, err)
			require.False(t, slices.Equal(b.MAC[:], make([]byte, envelope.MACSize)))
		})
	}
}
