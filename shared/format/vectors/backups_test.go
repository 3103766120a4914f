package vectors_test

import (
	"bytes"
	"crypto/hmac"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/envelope/backup"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// backupFile contains everything that was read from a backup file.
type backupFile struct {
	envelope.Backup
	documents []*envelope.Document
	content   []byte
	mac       [envelope.MACSize]byte
}

func readBackup(file []byte) (*backupFile, error) {
	r, err := backup.Open(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	r.Tee(&content)
	b := &backupFile{Backup: r.Backup}
	for {
		d, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		b.documents = append(b.documents, d)
	}
	b.mac, err = r.MAC()
	b.content = content.Bytes()
	return b, err
}

// openBackup opens slot i of a backup, verifies the file and returns its key (shared/envelope/SPEC.md section 9).
func openBackup(b *backupFile, environment string, i int, kek vectors.Secret) ([]byte, error) {
	if b.Environment != environment {
		return nil, envelope.ErrInvalid
	}
	document := b.SlotDocument()
	key, err := openSlot(&b.Slots[i], document.RootBinding(b.Slots[i].Root), kek)
	if err != nil {
		return nil, err
	}
	if err := document.Verify(plain.Authenticator(plain.Roots{b.Slots[i].Root: key}, nil)); err != nil {
		return nil, err
	}
	if !hmac.Equal(b.mac[:], plain.BackupMAC(key, b.content)) {
		return nil, envelope.ErrAuthentication
	}
	return key, nil
}

func TestBackupsOpenWithEachKEK(t *testing.T) {
	documents := map[string][]byte{}
	for _, d := range vectors.LoadDocuments().Documents {
		documents[d.Name] = d.Bytes
	}
	for _, v := range vectors.LoadBackups().Backups {
		t.Run(v.Name, func(t *testing.T) {
			b, err := readBackup(v.Bytes)
			require.NoError(t, err)
			require.Equal(t, v.Environment, b.Environment)
			require.Equal(t, v.CreatedAt, b.CreatedAt)
			require.Equal(t, []byte(v.MAC), b.mac[:])
			require.Equal(t, []byte(v.MAC), plain.BackupMAC(v.Key, b.content))
			require.Len(t, b.Slots, len(v.KEKs))
			for i := range b.Slots {
				key, err := openBackup(b, v.Environment, i, v.KEKs[i])
				require.NoError(t, err)
				require.Equal(t, []byte(v.Key), key)
				require.Equal(t, []byte(v.KeyID), b.Slots[i].Root.ID[:])
			}
			require.Len(t, b.documents, len(v.Documents))
			again, err := b.Append(nil)
			require.NoError(t, err)
			for i, name := range v.Documents {
				encoded, err := b.documents[i].Append(nil)
				require.NoError(t, err)
				require.Equal(t, documents[name], encoded)
				again = envelope.AppendBackupDocument(again, encoded)
			}
			require.Equal(t, b.content, envelope.AppendBackupDocument(again, nil))
		})
	}
}

func TestInvalidBackupsAreRefused(t *testing.T) {
	for _, v := range vectors.LoadBackups().Invalid {
		t.Run(v.Name, func(t *testing.T) {
			_, err := readBackup(v.Bytes.Bytes())
			requireCode(t, v.Code, err)
		})
	}
}

func TestBackupsThatMustNotOpenAreRefused(t *testing.T) {
	for _, v := range vectors.LoadBackups().Refusals {
		t.Run(v.Name, func(t *testing.T) {
			b, err := readBackup(v.Bytes)
			require.NoError(t, err)
			_, err = openBackup(b, v.Environment, 0, v.KEK)
			requireCode(t, v.Code, err)
		})
	}
}
