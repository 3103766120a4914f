package sqlitekeys

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

const childDir = "COFFER_TEST_SQLITEKEYS_DIR"

// TestMain lets the test binary be a process that writes until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		writeForever(dir)
	}
	os.Exit(m.Run())
}

// writeForever gives a document of each name each next content. The due time is the content's number.
func writeForever(dir string) {
	s, err := Open(dir)
	for i := 1; err == nil; i++ {
		name := fmt.Sprint(i % 7)
		var old []byte
		if old, err = s.Get(context.Background(), keystore.Keysets, name); err == nil {
			_, err = s.Swap(context.Background(), keystore.Keysets, name, old, content(i), int64(i))
		}
		fmt.Println(name, i)
	}
	fmt.Println("failed", err)
	os.Exit(1)
}

// content is of different sizes, and nil for some.
func content(i int) []byte {
	if i%5 == 4 {
		return nil
	}
	return []byte(strings.Repeat(fmt.Sprint(i, " "), 1+i%3*900))
}

// After a kill at any time each document is the last one that was acknowledged or its successor; its due time belongs to
// it, and the feed mentions it.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, acknowledged := open(t, dir), map[string]int{}
	for round := range 12 {
		since := keystoretest.Current(t, s)
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		time.AfterFunc(time.Duration(30+round*9)*time.Millisecond, func() { _ = child.Process.Kill() })
		written := map[string]bool{}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var name string
			var i int
			_, err := fmt.Sscan(lines.Text(), &name, &i)
			require.NoError(t, err, lines.Text())
			acknowledged[name] = i
			written[name] = written[name] || content(i) != nil // else there may have been nothing to remove
		}
		_ = child.Wait()
		changes, _ := keystoretest.Changed(t, s, since)
		announced := map[string]bool{}
		for _, c := range changes {
			announced[c.Name] = true
		}
		due, err := s.Due(t.Context(), keystore.Keysets, 1<<40, 100)
		require.NoError(t, err)
		for name, i := range acknowledged {
			now, err := s.Get(t.Context(), keystore.Keysets, name)
			require.NoError(t, err)
			if string(now) != string(content(i)) { // the reply of one was lost with the process
				require.Equal(t, string(content(i+7)), string(now), "document %s", name)
				i += 7
			}
			require.True(t, announced[name] || !written[name])
			require.Equal(t, now != nil, strings.Contains(fmt.Sprint(due), name))
			until, err := s.Due(t.Context(), keystore.Keysets, int64(i-1), 100)
			require.NoError(t, err)
			require.NotContains(t, until, name)
		}
		for name := range acknowledged { // the next round begins at the same contents
			keystoretest.Put(t, s, keystore.Keysets, name, nil)
		}
		clear(acknowledged)
	}
}
