package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var errKilled = errors.New("killed")

// killed is a directory whose process ends before the nth operation that changes something.
func killed(t *testing.T, path string, n int) (d *Directory, ended *bool) {
	ended = new(bool)
	d, err := openDirectory(path, disk{before: func(operation, _ string) error {
		switch operation {
		case "replace", "append", "remove", "make":
			n--
		}
		if n < 0 {
			*ended = true
			return errKilled
		}
		return nil
	}})
	if !*ended {
		require.NoError(t, err)
	}
	return d, ended
}

// After a kill between any two steps of a Swap the document is the former or the new one; it is found when it
// is due; and a reader notices the change if there was one.
func TestKilledBetweenSteps(t *testing.T) {
	const soon, later = 1000, 1000 + 48*hour
	one, two := []byte("one"), []byte("two")
	cases := []struct {
		name          string
		old, document []byte
		before, after int64
	}{
		{"new", nil, one, 0, soon}, {"earlier", one, two, later, soon}, {"later", one, two, soon, later},
		{"never", one, two, soon, 0}, {"removed", one, nil, soon, 0}, {"same", one, two, soon, soon},
	}
	for _, c := range cases {
		for n := 0; ; n++ {
			path := t.TempDir()
			whole, err := OpenDirectory(path)
			require.NoError(t, err)
			if c.old != nil {
				_, err := whole.Swap(t.Context(), Keysets, "x", nil, c.old, c.before)
				require.NoError(t, err)
			}
			_, begin, err := whole.Changes(t.Context(), "")
			require.NoError(t, err)
			d, ended := killed(t, path, n+2) // opening makes the two folders, which are there
			if !*ended {
				_, _ = d.Swap(t.Context(), Keysets, "x", c.old, c.document, c.after)
			}
			t.Run(fmt.Sprintf("%s, killed before step %d", c.name, n), func(t *testing.T) {
				after, err := OpenDirectory(path)
				require.NoError(t, err)
				now, err := after.Get(t.Context(), Keysets, "x")
				require.NoError(t, err)
				due := c.before
				if !same(now, c.old) || same(c.old, c.document) {
					require.True(t, same(now, c.document))
					due = c.after
					changes, _, err := after.Changes(t.Context(), begin)
					require.NoError(t, err)
					require.Contains(t, changes, Change{Keysets, "x"})
				}
				for _, until := range []int64{soon, later, 2 * later} {
					names, err := after.Due(t.Context(), Keysets, until, 10)
					require.NoError(t, err)
					require.Equal(t, due != 0 && due <= until && now != nil, len(names) == 1, "due at %d, looked at %d", due, until)
				}
				swapped, err := after.Swap(t.Context(), Keysets, "x", now, []byte("three"), soon)
				require.NoError(t, err)
				require.True(t, swapped)
				markers, err := filepath.Glob(filepath.Join(path, "due", "*", "*", "*"))
				require.NoError(t, err)
				require.LessOrEqual(t, len(markers), 2)
			})
			if !*ended {
				require.Greater(t, n, 1)
				break
			}
		}
	}
}

// A reader that looks between the steps of a writer does not take an entry of the feed for the whole change.
func TestReaderBetweenSteps(t *testing.T) {
	path := t.TempDir()
	reader, err := OpenDirectory(path)
	require.NoError(t, err)
	_, begin, err := reader.Changes(t.Context(), "")
	require.NoError(t, err)
	seen := make(chan []byte, 1)
	writer, err := openDirectory(path, disk{before: func(operation, where string) error {
		if operation == "replace" && filepath.Dir(filepath.Dir(where)) == filepath.Join(path, "keyset") {
			go func() {
				for {
					changes, next, err := reader.Changes(context.Background(), begin)
					if err != nil || len(changes) > 0 {
						content, _ := reader.Get(context.Background(), Keysets, "x")
						seen <- content
						return
					}
					begin = next
				}
			}()
		}
		return nil
	}})
	require.NoError(t, err)
	_, err = writer.Swap(t.Context(), Keysets, "x", nil, []byte("document"), 0)
	require.NoError(t, err)
	require.Equal(t, "document", string(<-seen))
}

// A line that a killed writer cut short is ignored, and the next one is whole.
func TestCutLine(t *testing.T) {
	path := t.TempDir()
	d, err := OpenDirectory(path)
	require.NoError(t, err)
	put(t, d, "a")
	_, begin, err := d.Changes(t.Context(), "")
	require.NoError(t, err)
	whole, err := os.ReadFile(d.segment(1))
	require.NoError(t, err)
	rest := line(Change{Keysets, "cut"})
	for n := range rest {
		require.NoError(t, os.WriteFile(d.segment(1), append(whole[:len(whole):len(whole)], rest[:n]...), 0o600))
		changes, next, err := d.Changes(t.Context(), begin)
		require.NoError(t, err)
		require.Empty(t, changes)
		require.Equal(t, begin, next)
		put(t, d, fmt.Sprint("b", n))
		changes, _, err = d.Changes(t.Context(), begin)
		require.NoError(t, err)
		require.Equal(t, []Change{{Keysets, fmt.Sprint("b", n)}}, changes)
	}
}

func put(t testing.TB, s Store, name string) {
	t.Helper()
	swapped, err := s.Swap(t.Context(), Keysets, name, nil, []byte("document"), 0)
	require.NoError(t, err)
	require.True(t, swapped)
}

// fill appends entries until the feed begins another file.
func fill(t *testing.T, d *Directory, number int) {
	t.Helper()
	content, err := os.ReadFile(d.segment(number))
	require.NoError(t, err)
	for len(content) < maxSegment {
		content = append(content, line(Change{Leases, "filler"})...)
	}
	require.NoError(t, os.WriteFile(d.segment(number), content, 0o600))
}

// A feed is trimmed to two files. A reader of a removed one is lost, as is one whose position the feed does not contain.
func TestDirectoryFeedLost(t *testing.T) {
	path := t.TempDir()
	d, err := OpenDirectory(path)
	require.NoError(t, err)
	put(t, d, "a")
	_, first, err := d.Changes(t.Context(), "")
	require.NoError(t, err)
	snapshot, err := os.ReadFile(d.segment(1))
	require.NoError(t, err)
	put(t, d, "b")
	_, second, err := d.Changes(t.Context(), "")
	require.NoError(t, err)
	fill(t, d, 1)
	put(t, d, "c")
	_, third, err := d.Changes(t.Context(), "")
	require.NoError(t, err)
	require.FileExists(t, d.segment(2))
	changes, next, err := d.Changes(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, third, next)
	require.Equal(t, Change{Keysets, "b"}, changes[0])
	require.Equal(t, Change{Keysets, "c"}, changes[len(changes)-1])

	fill(t, d, 2)
	put(t, d, "d")
	require.NoFileExists(t, d.segment(1))
	_, _, err = d.Changes(t.Context(), first)
	require.ErrorIs(t, err, ErrFeedLost)
	changes, _, err = d.Changes(t.Context(), third)
	require.NoError(t, err)
	require.Equal(t, Change{Keysets, "d"}, changes[len(changes)-1])

	for _, number := range []int{2, 3} {
		require.NoError(t, os.Remove(d.segment(number)))
	}
	require.NoError(t, os.WriteFile(d.segment(1), snapshot, 0o600)) // went back
	_, _, err = d.Changes(t.Context(), second)
	require.ErrorIs(t, err, ErrFeedLost)
	_, _, err = d.Changes(t.Context(), third)
	require.ErrorIs(t, err, ErrFeedLost)
	put(t, d, "e") // and grew again
	_, _, err = d.Changes(t.Context(), second)
	require.ErrorIs(t, err, ErrFeedLost)
	changes, _, err = d.Changes(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, []Change{{Keysets, "e"}}, changes)
}

// Reading a page, the changes and the due documents takes the same number of operations however many idle
// documents there are.
func TestCostIgnoresIdleDocuments(t *testing.T) {
	operations := 0
	s, err := openDirectory(t.TempDir(), disk{before: func(string, string) error { operations++; return nil }})
	require.NoError(t, err)
	look := func() int {
		_, since, err := s.Changes(t.Context(), "")
		require.NoError(t, err)
		before := operations
		documents, _, err := s.Page(t.Context(), Keysets, "", 10)
		require.NoError(t, err)
		require.Len(t, documents, 10)
		changes, _, err := s.Changes(t.Context(), since)
		require.NoError(t, err)
		require.Empty(t, changes)
		names, err := s.Due(t.Context(), Keysets, 1000, 10)
		require.NoError(t, err)
		require.Len(t, names, 1)
		return operations - before
	}
	_, err = s.Swap(t.Context(), Keysets, "due", nil, []byte("document"), 1000)
	require.NoError(t, err)
	for i := range 600 {
		_, err := s.Swap(t.Context(), Keysets, fmt.Sprint(i), nil, []byte("document"), 90*24*hour+int64(i))
		require.NoError(t, err)
		if i == 200 {
			require.LessOrEqual(t, look(), 60)
		}
	}
	require.LessOrEqual(t, look(), 60)
}
