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

// victim tells the process that is to be killed where it works.
const victim = "COFFER_ROTATION_TEST_VICTIM"

// scene is where a rotation takes place.
type scene struct {
	Dir   string        // of the keysets, and of the embedded store
	Redis string        // its address; empty: the embedded store
	Ahead time.Duration // of the clock: a killed process's lease is over then
}

func (s *scene) open(t *testing.T) *site {
	var store kv.Store
	var err error
	if s.Redis != "" {
		store, err = rediskv.Open("redis://" + s.Redis)
	} else {
		store, err = sqlitekv.Open(filepath.Join(s.Dir, "cache"), nil)
	}
	require.NoError(t, err)
	opened := newSite(t, directory(t, filepath.Join(s.Dir, "keys")), store, nil)
	opened.clock.pass(s.Ahead)
	return opened
}

// kills is how often a rotation is killed.
func kills(t *testing.T) int {
	text := os.Getenv("COFFER_KILLS")
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// TestVictim is the process that is killed. It takes rotations up and begins new ones, each to its end or back.
func TestVictim(t *testing.T) {
	text := os.Getenv(victim)
	if text == "" {
		t.Skip("it is run by the others")
	}
	var at scene
	require.NoError(t, json.Unmarshal([]byte(text), &at))
	s := at.open(t)
	fmt.Println("begun")
	for {
		record := s.work()
		switch {
		case record == nil || !record.Active():
			s.begin(rotation.Order{Compromised: rand.IntN(4) == 0})
		case !record.Compromised() && record.State == rotation.Grace && rand.IntN(3) == 0:
			_, err := s.Rollback(t.Context(), "tenant", rotation.Requester{})
			require.NoError(t, err)
		default:
			s.clock.pass(rotation.DefaultGrace + time.Hour)
		}
	}
}

// kill runs a victim for a random time.
func (s *scene) kill(t *testing.T) {
	content, err := json.Marshal(s)
	require.NoError(t, err)
	path, err := os.Executable()
	require.NoError(t, err)
	command := exec.CommandContext(context.Background(), path, "-test.run", "^TestVictim$")
	command.Env = append(os.Environ(), victim+"="+string(content))
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "begun\n", line)
	time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
	require.NoError(t, command.Process.Kill())
	require.ErrorContains(t, command.Wait(), "killed", "it was still at work")
}

// Whenever a rotation is killed, everything opens, what is written in between stays, and another process
// takes it to its end.
func TestKilled(t *testing.T) {
	t.Parallel()
	const n = 400
	for name, s := range map[string]*scene{"redis": {Redis: redistest.Start(t).Addr}, "embedded": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.Dir = t.TempDir()
			states := map[rotation.State]int{}
			for i := range kills(t) + 1 {
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
					opened.reads(n)
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
				opened.clock.pass(30 * 24 * time.Hour)
				opened.work()
			}
			opened.begin(rotation.Order{})
			require.Equal(t, rotation.Grace, opened.work().State)
			opened.reads(n)
			require.Equal(t, n, opened.under(n))
		})
	}
}

// close ends what open opened.
func (s *site) close() {
	s.Keyring.Close()
	require.NoError(s.t, s.Store.Close())
}
