package audit_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
)

// victimPath is the environment variable with the path of the log that the process to be killed writes.
const victimPath = "COFFER_AUDIT_TEST_VICTIM"

// TestProcessToKill is the process that TestLogVerifiesAfterKills starts and kills. It prints the ids of recorded
// events.
func TestProcessToKill(t *testing.T) {
	path := os.Getenv(victimPath)
	if path == "" {
		t.Skip("TestLogVerifiesAfterKills starts this process")
	}
	f, err := audit.Open(path, keyOf(t, path), audit.Options{MaxSize: 100_000, Keep: 10, Sync: audit.SyncLater, Timeout: time.Minute})
	require.NoError(t, err)
	fmt.Println("begun")
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range 8 {
		wg.Go(func() {
			for j := 0; ; j++ {
				e := useEvent(0)
				e.RequestID = fmt.Sprintf("%d-%d-%d", os.Getpid(), i, j)
				if j%20 == 19 {
					e.Action, e.RequestID = audit.KeyDestroy, "end-"+e.RequestID
				}
				if err := f.Record(t.Context(), e, e, e); err != nil {
					panic(err)
				}
				mu.Lock()
				fmt.Println(e.RequestID)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// Two processes write and are killed at random moments. The log verifies after each kill, and all recorded events are
// in it.
func TestLogVerifiesAfterKills(t *testing.T) {
	kills := 10
	if text := os.Getenv("COFFER_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		kills = n
	}
	path := filepath.Join(t.TempDir(), "audit")
	torn, ends := 0, map[string]int{}
	for range kills {
		var wg, writing sync.WaitGroup
		ids := make([][]string, 2)
		writing.Add(len(ids)) // at the same time, or the second process would continue the first one's chain and delete its files
		for i := range ids {
			wg.Go(func() { ids[i] = runVictim(t, path, &writing, 20*time.Millisecond+rand.N(60*time.Millisecond)) })
		}
		wg.Wait()
		v := verify(t, path)
		require.Nil(t, v.Fault)
		for _, c := range v.Chains {
			torn += len(c.Torn)
		}
		var text strings.Builder
		for _, lines := range readContent(t, path).lines {
			text.WriteString(strings.Join(lines, ""))
		}
		for _, ids := range ids {
			require.NotEmpty(t, ids)
			for _, id := range ids[max(0, len(ids)-20):] { // retention deleted earlier files
				require.LessOrEqual(t, 3, strings.Count(text.String(), `"requestId":"`+id+`"`))
			}
			for _, id := range ids {
				if strings.HasPrefix(id, "end-") {
					ends[id] = 0
				}
			}
		}
	}
	require.NoError(t, audit.ReadVerified(t.Context(), path, keyOf(t, path), &audit.Filter{Action: "key.destroy"}, func(l *audit.Line) {
		if _, recorded := ends[l.RequestID]; recorded { // a kill can cut other events between their lines
			ends[l.RequestID]++
		}
	}))
	for id, n := range ends {
		require.GreaterOrEqual(t, n, 3, "%s must outlive retention", id)
	}
	t.Logf("%d lines were cut short; %d keys were destroyed", torn, len(ends))
	f := open(t, path, audit.Options{})
	require.NoError(t, f.Record(t.Context(), useEvent(1)))
	require.Nil(t, verify(t, path).Fault)
}

// runVictim starts a process and kills it some time after all processes have begun to write.
func runVictim(t *testing.T, path string, writing *sync.WaitGroup, after time.Duration) (ids []string) {
	begun := sync.OnceFunc(writing.Done)
	defer begun()
	cmd := exec.Command(os.Args[0], "-test.run=^TestProcessToKill$")
	cmd.Env = append(os.Environ(), victimPath+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		t.Error("the process does not start")
		return nil
	}
	scanner := bufio.NewScanner(out)
	for scanner.Scan() && scanner.Text() != "begun" {
	}
	for scanner.Scan() {
		if len(ids) == 0 {
			begun()
			go func() {
				writing.Wait()
				time.Sleep(after)
				_ = cmd.Process.Kill()
			}()
		}
		ids = append(ids, scanner.Text())
	}
	if cmd.Wait() == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Errorf("the process was not killed: %v", ids)
	}
	return ids
}
