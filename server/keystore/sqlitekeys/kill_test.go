package sqlitekeys

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

var roles = map[string]func(testing.TB){"writesForever": writeForever}

func TestMain(m *testing.M) { proctest.Main(m, roles) }

// writeForever writes the next content to a document of each name in turn, until it is killed. The due time is the
// content's number.
func writeForever(t testing.TB) {
	s := open(t, os.Args[1])
	for i := 1; ; i++ {
		name := fmt.Sprint(i % 7)
		old, err := s.Get(t.Context(), keystore.Keysets, name)
		require.NoError(t, err)
		_, err = s.Swap(t.Context(), keystore.Keysets, name, old, content(i), int64(i))
		require.NoError(t, err)
		fmt.Println(name, i)
	}
}

// content returns content of different sizes, and nil for some numbers.
func content(i int) []byte {
	if i%5 == 4 {
		return nil
	}
	return []byte(strings.Repeat(fmt.Sprint(i, " "), 1+i%3*900))
}

// After a kill at any time, each document has the content that was acknowledged last or the next one, with its due
// time and its entry in the feed.
func TestKilledWriterLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, acknowledged := open(t, dir), map[string]int{}
	for round := range 12 {
		since := keystoretest.CurrentPosition(t, s)
		child := proctest.RoleCommand(t, "writesForever", dir)
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
		changes, _ := keystoretest.ReadChanges(t, s, since)
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
