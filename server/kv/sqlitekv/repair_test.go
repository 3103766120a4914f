package sqlitekv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/server/kv"
)

const repaired = 300

func repairValue(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 20+i%700) }

func init() { roles["waitsWithALog"] = waitWithALog }

// waitWithALog writes entries, some of which stay in the log, and waits to be killed.
func waitWithALog(t testing.TB) {
	s, err := Open(os.Args[1], nil)
	require.NoError(t, err)
	for i := range repaired {
		if i == repaired/2 {
			c := <-s.writer
			s.checkpoint(c, passive)
			s.writer <- c
		}
		require.NoError(t, kv.Set(t.Context(), s, kv.Prefix("a", "cache")+fmt.Sprint(i), repairValue(i), time.Hour))
	}
	<-s.writer // prevents further checkpoints
	fmt.Println(0)
	select {}
}

// intact reads all entries of a store. Each entry that it finds must be right. It returns how many keys are listed, if
// the listing succeeds, and how many entries were read.
func intact(t *testing.T, s *Store) (listed, found int, err error) {
	t.Helper()
	keys, _, err := s.Scan(t.Context(), kv.TenantPrefix, "", 2*repaired)
	for i := range repaired {
		got, ok, err := kv.Get(t.Context(), s, kv.Prefix("a", "cache")+fmt.Sprint(i))
		if err == nil && ok {
			require.True(t, bytes.Equal(repairValue(i), got))
			found++
		}
	}
	return len(keys), found, err
}

func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(to, durable.ReserveName), nil, 0o600)) // a sparse file, which is created quickly
	require.NoError(t, os.Truncate(filepath.Join(to, durable.ReserveName), durable.ReserveSize))
	for _, name := range []string{fileName, fileName + "-wal", fileName + "-mark"} {
		content, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, name), content, 0o600))
	}
}

// Damage anywhere in the database or its log never shortens a list: the start or the list fails, or everything is
// there. Check reports the damage, and Repair keeps all readable entries.
func TestDamageOfEachFileIsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := proctest.RoleCommand(t, "waitsWithALog", dir)
	killAfter(t, child, 1, func() {})
	random, flips := rand.New(rand.NewPCG(5, 6)), 15
	if text := os.Getenv("COFFER_FLIPS"); text != "" { // set by make soak
		var err error
		flips, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	for _, name := range []string{fileName, fileName + "-wal"} {
		whole, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Greater(t, len(whole), 50_000)
		lost := 0
		for range flips {
			copied, at := t.TempDir(), random.IntN(len(whole))
			copyFiles(t, dir, copied)
			damaged := bytes.Clone(whole)
			damaged[at] ^= 1 << random.IntN(8)
			require.NoError(t, os.WriteFile(filepath.Join(copied, name), damaged, 0o600))
			where := fmt.Sprintf("%s, byte %d", name, at)
			s, err := Open(copied, nil)
			wrong := err
			if err == nil {
				var listed int
				if listed, _, err = intact(t, s); err == nil {
					require.Equal(t, repaired, listed, where)
				} else {
					require.ErrorIs(t, s.Check(t.Context()), kv.ErrDamaged)
				}
				wrong = errors.Join(err, s.Check(t.Context()))
				require.NoError(t, s.Close())
			}
			if wrong != nil {
				require.ErrorIs(t, wrong, kv.ErrUnavailable, where)
			}
			lost += repair(t, copied, wrong != nil, where)
		}
		t.Logf("%s: %d flips lost %d of %d entries", name, flips, lost, flips*repaired)
	}
}

// repair checks and repairs a store. It returns how many entries are lost.
func repair(t *testing.T, dir string, damaged bool, where string) int {
	t.Helper()
	checked, err := Check(t.Context(), dir, nil)
	require.NoError(t, err, where)
	if damaged {
		require.NotEmpty(t, checked.Damage, where)
	}
	found, err := Repair(t.Context(), dir, nil)
	require.NoError(t, err, where)
	require.Equal(t, len(checked.Damage) > 0, len(found.Damage) > 0, where)
	require.FileExists(t, filepath.Join(dir, found.Damaged))
	s, err := Open(dir, nil)
	require.NoError(t, err, where)
	defer func() { require.NoError(t, s.Close()) }()
	listed, read, err := intact(t, s)
	require.NoError(t, err, where)
	require.Equal(t, found.Read, listed, where)
	require.Equal(t, found.Read, read, where)
	requireCounted(t, s)
	if len(found.Damage) == 0 {
		require.Equal(t, repaired, read, where)
	}
	return repaired - read
}

// If a database does not open, Repair keeps all entries that are not on a damaged page.
func TestRepairOfUnopenableDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for i := range repaired {
		require.NoError(t, kv.Set(t.Context(), s, kv.Prefix("a", "cache")+fmt.Sprint(i), repairValue(i), time.Hour))
	}
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(filepath.Join(dir, fileName))
	require.NoError(t, err)
	for name, damage := range map[string]func(content []byte) []byte{
		"a bit of the first page": func(content []byte) []byte { content[1000] ^= 1; return content },
		"the first page":          func(content []byte) []byte { clear(content[:4096]); return content },
		"the end":                 func(content []byte) []byte { return content[:len(content)-1000] },
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), damage(bytes.Clone(whole)), 0o600))
		_, err = Open(dir, nil)
		require.ErrorIs(t, err, kv.ErrDamaged, name)
		require.LessOrEqual(t, repair(t, dir, true, name), 20, name)
		require.Empty(t, left(t, dir, "rescue"))
	}
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), bytes.Repeat([]byte{7}, 4096), 0o600))
	require.Equal(t, repaired, repair(t, dir, true, "nothing"))
}

// left returns the names of the files in a directory that contain a text.
func left(t *testing.T, dir, text string) (names []string) {
	all, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, file := range all {
		if strings.Contains(file.Name(), text) {
			names = append(names, file.Name())
		}
	}
	return names
}

func TestCheckOfIntactStoreFindsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := Check(t.Context(), dir, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	s := open(t, dir)
	_, err = Check(t.Context(), dir, nil)
	require.ErrorIs(t, err, ErrInUse)
	_, err = Repair(t.Context(), dir, nil)
	require.ErrorIs(t, err, ErrInUse)
	large := bytes.Repeat([]byte("large"), 1<<20)
	require.NoError(t, kv.Set(t.Context(), s, "large", large, time.Hour))
	require.NoError(t, kv.Set(t.Context(), s, "empty", nil, 0))
	require.NoError(t, s.Close())
	found, err := Check(t.Context(), dir, nil)
	require.NoError(t, err)
	require.Empty(t, found.Damage)
	require.Equal(t, []int{2, 0}, []int{found.Read, found.Lost})
	found, err = Repair(t.Context(), dir, nil)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(found.Damaged, fileName+".damaged-"))
	s = open(t, dir)
	got, _, err := kv.Get(t.Context(), s, "large")
	require.NoError(t, err)
	require.True(t, bytes.Equal(large, got))
	left, _, err := s.TTL(t.Context(), "large")
	require.NoError(t, err)
	require.InDelta(t, time.Hour, left, float64(time.Minute))
}
