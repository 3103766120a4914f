package faults

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// damage counts the results of flipping single bits of a file while no server runs.
type damage struct {
	file     string
	places   int
	refused  int // the server does not start, and reports the reason
	reported int // it starts, and /readyz, the log or an answer reports the damage
	harmless int // nothing is missing or different
	silent   []string
}

const corruptEntries = 60

// corrupted is a data directory that contains corruptEntries entries.
type corrupted struct {
	t     *testing.T
	dir   string
	token string
}

// TestFlippedBitsAreDetected flips bits at random places of every file of a data directory. Each time the server refuses to start, reports
// the damage, or returns all entries unchanged.
func TestFlippedBitsAreDetected(t *testing.T) {
	for _, d := range corrupt(t, 1) {
		t.Logf("%s: %d places: refused %d, reported %d, harmless %d", d.file, d.places, d.refused, d.reported, d.harmless)
	}
}

func corrupt(t *testing.T, places int) (all []*damage) {
	c := newCorrupted(t)
	random := rand.New(rand.NewPCG(7, 9))
	require.NoError(t, filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "reserve" || d.Name() == "lock" {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() == 0 {
			return err
		}
		name, err := filepath.Rel(c.dir, path)
		found := &damage{file: name}
		for range min(places, 8*int(info.Size())) {
			found.places++
			c.flip(name, random.Int64N(info.Size()), random.IntN(8), found)
		}
		all = append(all, found)
		require.Empty(t, found.silent, name)
		return err
	}))
	return all
}

// newCorrupted fills a data directory. It kills the server, so that the database's log remains as a file.
func newCorrupted(t *testing.T) *corrupted {
	c := &corrupted{t: t, dir: filepath.Join(t.TempDir(), "data")}
	s, token, ok := tryServer(t, binary(t), c.dir, nil)
	require.True(t, ok, s.readLog())
	c.token = token
	client := client{s.url, token}
	for i := range corruptEntries {
		code, _ := client.send(http.MethodPut, fmt.Sprintf("/v1/cache/k%d?class=phi", i), value(fmt.Sprint("k", i)))
		require.Equal(t, answered, code)
	}
	s.signal(t, syscall.SIGKILL)
	s.wait(t)
	return c
}

// flip flips a bit of a file in a copy of the directory and starts a server with the copy.
func (c *corrupted) flip(name string, at int64, bit int, found *damage) {
	t := c.t
	dir := filepath.Join(t.TempDir(), "copy")
	defer os.RemoveAll(dir)
	require.NoError(t, exec.Command("cp", "-a", "--sparse=always", c.dir, dir).Run())
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	b[0] ^= 1 << bit
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	s, _, listens := tryServer(t, binary(t), dir, nil)
	if !listens {
		require.NotContains(t, s.readLog(), "panic")
		require.NotEmpty(t, s.readLog(), "%s at %d", name, at)
		found.refused++
		return
	}
	missing, errors := c.look(s)
	h, _ := s.ready()
	warned, _ := s.warnings(0)
	warned = slices.DeleteFunc(warned, expectedWarning)
	verified := c.verify(dir)
	s.signal(t, syscall.SIGTERM)
	require.Zero(t, s.wait(t), s.readLog())
	require.NotContains(t, s.readLog(), "panic")
	switch reported := errors > 0 || len(h.codes()) > 0 || len(warned) > 0 || !verified; {
	case reported:
		found.reported++
	case missing > 0:
		found.silent = append(found.silent, fmt.Sprintf("byte %d, bit %d: %d entries are missing", at, bit, missing))
	default:
		found.harmless++
	}
}

// expectedWarning reports whether a warning concerns the server's settings and not its files.
func expectedWarning(message string) bool {
	return strings.Contains(message, "KEK IS LOCAL")
}

// look reads all entries, one by one and as a list.
func (c *corrupted) look(s *server) (missing, errors int) {
	client := client{s.url, c.token}
	for i := range corruptEntries {
		code, body := client.send(http.MethodGet, fmt.Sprint("/v1/cache/k", i), "")
		switch {
		case code == "not_found":
			missing++
		case code != answered:
			errors++
		default:
			require.Equal(c.t, value(fmt.Sprint("k", i)), body)
		}
	}
	code, body := client.send(http.MethodGet, "/v1/cache?limit=1000", "")
	var list struct{ Keys []string }
	switch {
	case code != answered:
		errors++
	case json.Unmarshal([]byte(body), &list) != nil || len(list.Keys) < corruptEntries:
		missing++
	}
	return missing, errors
}

// verify runs the verification of the audit log.
func (c *corrupted) verify(dir string) bool {
	cmd := exec.Command(binary(c.t), "audit", "verify", "--data", dir)
	cmd.Env = settings
	return cmd.Run() == nil
}
