package rotation_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
)

// processEnv is set in the environment of the process that is killed. It describes the stores.
const processEnv = "COFFER_ROTATION_TEST_VICTIM"

// rotationStores describes the stores of a rotation.
type rotationStores struct {
	Dir   string        // of the keysets, and of the embedded store
	Redis string        // its address; empty: the embedded store
	Ahead time.Duration // of the clock: a killed process's lease is over then
}

func (s *rotationStores) open(t *testing.T) *site {
	var store kv.Store
	var err error
	if s.Redis != "" {
		store, err = rediskv.Open("redis://" + s.Redis)
	} else {
		store, err = sqlitekv.Open(filepath.Join(s.Dir, "cache"), nil)
	}
	require.NoError(t, err)
	opened := newSite(t, directory(t, filepath.Join(s.Dir, "keys")), store, nil)
	opened.clock.advance(s.Ahead)
	return opened
}

// killCount returns how often a rotation is killed.
func killCount(t *testing.T) int {
	text := os.Getenv("COFFER_KILLS")
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// TestKilledProcess is the process that is killed. It continues rotations and begins new ones, and completes them or
// rolls them back.
func TestKilledProcess(t *testing.T) {
	text := os.Getenv(processEnv)
	if text == "" {
		t.Skip("it is run by the others")
	}
	var at rotationStores
	require.NoError(t, json.Unmarshal([]byte(text), &at))
	s := at.open(t)
	fmt.Println("begun")
	for {
		record := s.runAll()
		switch {
		case record == nil || !record.Active():
			s.begin(rotation.Order{Compromised: rand.IntN(4) == 0})
		case !record.Compromised() && record.State == rotation.Grace && rand.IntN(3) == 0:
			_, err := s.Rollback(t.Context(), "tenant", rotation.Requester{})
			require.NoError(t, err)
		default:
			s.clock.advance(rotation.DefaultGrace + time.Hour)
		}
	}
}

// kill runs the process for a random time and kills it.
func (s *rotationStores) kill(t *testing.T) {
	content, err := json.Marshal(s)
	require.NoError(t, err)
	path, err := os.Executable()
	require.NoError(t, err)
	command := exec.CommandContext(context.Background(), path, "-test.run", "^TestKilledProcess$")
	command.Env = append(os.Environ(), processEnv+"="+string(content))
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "begun\n", line)
	time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
	require.NoError(t, command.Process.Kill())
	require.ErrorContains(t, command.Wait(), "killed", "the process was still working")
}

// Whenever a process is killed, every entry opens, concurrent writes are kept, and another process completes the
// rotation.
func TestKilledRotationContinues(t *testing.T) {
	t.Parallel()
	const n = 400
	for name, s := range map[string]*rotationStores{"redis": {Redis: redistest.Start(t).Addr}, "embedded": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.Dir = t.TempDir()
			states := map[rotation.State]int{}
			for i := range killCount(t) + 1 {
				if i > 0 {
					s.kill(t)
				}
				s.Ahead += 30 * 24 * time.Hour
				func() {
					opened := s.open(t)
					defer opened.close()
					if i == 0 {
						opened.fill(n)
					}
					opened.requireReadable(n)
					record, err := opened.Record(t.Context(), "tenant")
					require.NoError(t, err)
					if record != nil {
						states[record.State]++
					}
					key, value := fmt.Sprint("entry ", rand.IntN(n)), ""
					_, err = fmt.Sscanf(key, "entry %s", &value)
					require.NoError(t, err)
					require.NoError(t, opened.cache.SetMany(t.Context(), []cache.Item{{Key: key, Value: []byte("value " + value), Class: classify.PHI}}))
				}()
			}
			t.Log("killed in the states", states)
			opened := s.open(t)
			defer opened.close()
			for range 5 {
				opened.clock.advance(30 * 24 * time.Hour)
				opened.runAll()
			}
			opened.begin(rotation.Order{})
			require.Equal(t, rotation.Grace, opened.runAll().State)
			opened.requireReadable(n)
			require.Equal(t, n, opened.entriesUnderPrimary(n))
		})
	}
}

// close closes the stores that open opened.
func (s *site) close() {
	s.Keyring.Close()
	require.NoError(s.t, s.Store.Close())
}
