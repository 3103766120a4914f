package audit_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/durable"
)

// content is the files of a log, each as its lines with their ends, the oldest first.
type content struct {
	names []string
	lines [][]string
}

func readLog(t *testing.T, path string) (c content) {
	t.Helper()
	files, err := audit.Files(path)
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		c.names, c.lines = append(c.names, file), append(c.lines, slices.Collect(strings.Lines(string(text))))
	}
	return c
}

func (c content) clone() content {
	lines := make([][]string, len(c.lines))
	for i := range lines {
		lines[i] = slices.Clone(c.lines[i])
	}
	return content{c.names, lines}
}

func (c content) write(t *testing.T) {
	t.Helper()
	for i, name := range c.names {
		require.NoError(t, os.WriteFile(name, []byte(strings.Join(c.lines[i], "")), 0o600))
	}
}

// torn reports whether a line was cut short.
func (c content) torn(file string, line int) bool {
	for i, name := range c.names {
		if filepath.Base(name) == file {
			return line <= len(c.lines[i]) && !strings.HasSuffix(c.lines[i][line-1], "\"}\n")
		}
	}
	return false
}

// firstChange is where c, which was altered, is not as it was: a file and a line of it, or the line behind the last.
func (c content) firstChange(was content) (file string, line int) {
	c = content{c.names, slices.Clone(c.lines)}
	for i := range c.lines { // lines as they are read, whatever was made of them
		c.lines[i] = slices.Collect(strings.Lines(strings.Join(c.lines[i], "")))
	}
	for i, lines := range c.lines {
		for j, text := range lines {
			if j >= len(was.lines[i]) || was.lines[i][j] != text {
				return filepath.Base(c.names[i]), j + 1
			}
		}
		if len(lines) < len(was.lines[i]) {
			for ; i+1 < len(c.lines); i++ {
				if len(c.lines[i+1]) > 0 {
					return filepath.Base(c.names[i+1]), 1
				}
			}
			last := len(c.lines) - 1
			return filepath.Base(c.names[last]), len(c.lines[last]) + 1
		}
	}
	return "", 0
}

func verify(t *testing.T, path string, anchors ...audit.Anchor) *audit.Verification {
	t.Helper()
	v, err := audit.Verify(t.Context(), path, keyOf(t, path), anchors, nil)
	require.NoError(t, err)
	return v
}

// randomLog writes a log in several files by several processes, some of which were killed within a line.
func randomLog(t *testing.T, random *rand.Rand) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	options := audit.Options{Sync: audit.SyncLater, MaxSize: 1500 + random.Int64N(3000), Log: quiet}
	for range 2 + random.IntN(4) {
		f, err := audit.Open(path, keyOf(t, path), options)
		require.NoError(t, err)
		for range 1 + random.IntN(10) {
			e := use(random.IntN(1000))
			e.Name = strings.Repeat("n", random.IntN(5))
			require.NoError(t, f.Record(t.Context(), slices.Repeat([]audit.Event{e}, 1+random.IntN(3))...))
		}
		require.NoError(t, f.Close())
		if random.IntN(2) == 0 {
			appendTo(t, path, `{"v":1,"seq":99,"time":"2026-01`)
		}
	}
	f, err := audit.Open(path, keyOf(t, path), options)
	require.NoError(t, err)
	require.NoError(t, f.Record(t.Context(), use(1)))
	require.NoError(t, f.Close())
	return path
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

// mutations alter a log at a line that is picked at random.
var mutations = map[string]func(random *rand.Rand, c *content, i, j int){
	"a byte": func(random *rand.Rand, c *content, i, j int) {
		line := []byte(c.lines[i][j])
		line[random.IntN(len(line))] ^= byte(1 + random.IntN(255))
		c.lines[i][j] = string(line)
	},
	"removed": func(_ *rand.Rand, c *content, i, j int) { c.lines[i] = slices.Delete(c.lines[i], j, j+1) },
	"removed to the end of the file": func(_ *rand.Rand, c *content, i, j int) {
		c.lines[i] = c.lines[i][:j]
	},
	"swapped": func(random *rand.Rand, c *content, i, j int) {
		k := random.IntN(len(c.lines))
		l := random.IntN(len(c.lines[k]))
		c.lines[i][j], c.lines[k][l] = c.lines[k][l], c.lines[i][j]
	},
	"twice": func(_ *rand.Rand, c *content, i, j int) { c.lines[i] = slices.Insert(c.lines[i], j, c.lines[i][j]) },
	"junk":  func(_ *rand.Rand, c *content, i, j int) { c.lines[i] = slices.Insert(c.lines[i], j, "junk\n") },
	"forged": func(_ *rand.Rand, c *content, i, j int) {
		c.lines[i] = slices.Insert(c.lines[i], j, fmt.Sprintf("{\"v\":1,\"seq\":%d,\"action\":\"key.open\",\"mac\":\"%064x\"}\n", j+1, j))
	},
	"cut within": func(random *rand.Rand, c *content, i, j int) {
		c.lines[i] = append(c.lines[i][:j:j], c.lines[i][j][:random.IntN(len(c.lines[i][j]))])
	},
	"joined": func(_ *rand.Rand, c *content, i, j int) { c.lines[i][j] = strings.TrimSuffix(c.lines[i][j], "\n") },
}

// TestEveryAlterationIsFound: whatever is done to a line of a log, verify finds it, and at that line.
func TestEveryAlterationIsFound(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 6 {
		path := randomLog(t, random)
		was := readLog(t, path)
		require.Nil(t, verify(t, path).Fault)
		for name, mutate := range mutations {
			for range 12 {
				c := was.clone()
				i := random.IntN(len(c.lines))
				mutate(random, &c, i, random.IntN(len(c.lines[i])))
				file, line := c.firstChange(was)
				if file == "" {
					continue // a line was swapped with itself
				}
				c.write(t)
				v := verify(t, path)
				require.NotNil(t, v.Fault, name)
				if was.torn(v.Fault.File, v.Fault.Line) {
					continue // what a killed process left is as likely what was altered
				}
				require.Equal(t, fmt.Sprint(file, ":", line), fmt.Sprint(v.Fault.File, ":", v.Fault.Line), "%s: %+v", name, *v.Fault)
			}
		}
		was.write(t)
		require.Nil(t, verify(t, path).Fault)
		require.NoError(t, os.Remove(was.names[random.IntN(len(was.names))]))
		require.NotNil(t, verify(t, path).Fault, "a file is gone")
	}
}

// TestKinds: each kind of fault is named as what it is.
func TestKinds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{Sync: audit.SyncLater})
	for i := range 9 {
		require.NoError(t, f.Record(t.Context(), use(i)))
	}
	require.NoError(t, f.Close())
	was := readLog(t, path)
	for _, c := range []struct {
		kind  audit.Kind
		line  int
		alter func(lines []string) []string
	}{
		{audit.Changed, 3, func(l []string) []string { l[2] = strings.Replace(l[2], "clinic", "clinik", 1); return l }},
		{audit.Changed, 3, func(l []string) []string { l[2] = "not a line\n"; return l }},
		{audit.Changed, 9, func(l []string) []string { l[8] = strings.Replace(l[8], "clinic", "clinik", 1); return l }},
		{audit.Removed, 3, func(l []string) []string { return slices.Delete(l, 2, 5) }},
		{audit.Removed, 1, func(l []string) []string { return l[1:] }},
		{audit.Inserted, 4, func(l []string) []string { return slices.Insert(l, 3, l[0]) }},
		{audit.Inserted, 4, func(l []string) []string { return slices.Insert(l, 3, "junk\n") }},
		{audit.Reordered, 3, func(l []string) []string { l[2], l[6] = l[6], l[2]; return l }},
		{audit.Truncated, 8, func(l []string) []string { return l[:7] }},
		{audit.Truncated, 1, func(l []string) []string { return nil }},
		{audit.Torn, 9, func(l []string) []string { l[8] = l[8][:50]; return l }},
		{audit.Rewritten, 1, func([]string) []string { return otherLog(t, 9) }},
		{audit.Rewritten, 4, func(l []string) []string { return append(l[:3], otherLog(t, 9)[3:]...) }},
	} {
		changed := was.clone()
		changed.lines[0] = c.alter(changed.lines[0])
		changed.write(t)
		fault := verify(t, path).Fault
		require.NotNil(t, fault, c.kind)
		require.Equal(t, []any{c.kind, c.line, uint64(c.line)}, []any{fault.Kind, fault.Line, fault.Seq}, "%+v", *fault)
	}
}

// otherLog is one that somebody wrote under a key of their own.
func otherLog(t *testing.T, n int) []string {
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{Sync: audit.SyncLater})
	for i := range n {
		require.NoError(t, f.Record(t.Context(), use(i)))
	}
	require.NoError(t, f.Close())
	return readLog(t, path).lines[0]
}

// TestHead: without its head, or with one that somebody made, a log does not verify, and no process goes on with it.
func TestHead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{})
	require.NoError(t, f.Record(t.Context(), use(1)))
	require.NoError(t, f.Close())
	head := filepath.Join(filepath.Dir(path), "audit.head")
	good, err := os.ReadFile(head)
	require.NoError(t, err)
	info, err := os.Stat(head)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		require.NoError(t, os.WriteFile(head, bad, 0o600))
		require.Equal(t, audit.NoHead, verify(t, path).Fault.Kind)
	}
	_, err = audit.Open(path, keyOf(t, path), audit.Options{})
	require.ErrorIs(t, err, audit.ErrHead)
	require.NoError(t, os.Remove(head))
	require.Equal(t, audit.NoHead, verify(t, path).Fault.Kind)
	_, err = audit.Open(path, keyOf(t, path), audit.Options{})
	require.ErrorIs(t, err, audit.ErrHead)
	require.ErrorContains(t, err, "restore it")
	require.NoError(t, os.WriteFile(head, good, 0o600))
	require.Nil(t, verify(t, path).Fault)
}

// TestAnchors: who puts back log and head, both as they were, is found by an anchor of after that; so is who has the key and writes the log anew.
func TestAnchors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	write := func() (at audit.Anchor) {
		f, err := audit.Open(path, keyOf(t, path), audit.Options{})
		require.NoError(t, err)
		require.NoError(t, f.Record(t.Context(), use(1)))
		require.NoError(t, f.Close())
		head, err := f.Head()
		require.NoError(t, err)
		return head.Anchor
	}
	first := write()
	copied := t.TempDir()
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	second := write()
	for _, text := range []string{first.String(), second.String()} {
		anchor, err := audit.ParseAnchor(text)
		require.NoError(t, err)
		require.Nil(t, verify(t, path, anchor).Fault)
	}

	old := filepath.Join(copied, "audit.log")
	require.Nil(t, verify(t, old, first).Fault, "it cannot be told by itself")
	require.Equal(t, audit.Truncated, verify(t, old, second).Fault.Kind)
	path = old
	write() // another second line
	fault := verify(t, old, second).Fault
	require.Equal(t, []any{audit.Rewritten, 2}, []any{fault.Kind, fault.Line})

	for _, text := range []string{"", "1", "1:", ":" + second.MAC.String(), "01:" + second.MAC.String(), "1:" + strings.ToUpper(second.MAC.String()), "-1:00", "1:00", second.String() + "0"} {
		_, err := audit.ParseAnchor(text)
		require.ErrorIs(t, err, audit.ErrAnchor, text)
	}
}

// TestAlteredWhileItRuns: a process that writes notices that lines are gone, says so, and leaves the gap to be found for ever, also after others took
// over.
func TestAlteredWhileItRuns(t *testing.T) {
	for name, alter := range map[string]func(content) content{
		"truncated": func(c content) content { c.lines[0] = c.lines[0][:2]; return c },
		"within":    func(c content) content { c.lines[0] = append(c.lines[0][:2], c.lines[0][2][:30]); return c },
		"emptied":   func(c content) content { c.lines[0] = nil; return c },
		"rewritten": func(c content) content { c.lines[0] = otherLog(t, 6); return c },
	} {
		for _, running := range []bool{true, false} {
			path := filepath.Join(t.TempDir(), "audit.log")
			told := 0
			options := audit.Options{Log: quiet, OnAltered: func() { told++ }}
			f, err := audit.Open(path, keyOf(t, path), options)
			require.NoError(t, err)
			for i := range 5 {
				require.NoError(t, f.Record(t.Context(), use(i)))
			}
			if !running {
				require.NoError(t, f.Close())
			}
			alter(readLog(t, path)).write(t)
			if !running {
				f, err = audit.Open(path, keyOf(t, path), options)
				require.NoError(t, err)
			}
			for range 3 {
				require.NoError(t, f.Record(t.Context(), use(9)))
				require.NoError(t, open(t, path, options).Record(t.Context(), use(10)))
			}
			require.NoError(t, f.Close())
			require.Equal(t, 1, told, "%s: once", name)
			all := lines(t, path)
			require.Equal(t, 6.0, all[len(all)-7]["seq"], name)
			require.Equal(t, []any{"audit.altered", "critical"}, []any{all[len(all)-7]["action"], all[len(all)-7]["severity"]})
			require.NotNil(t, verify(t, path).Fault, name)
		}
	}
}

// TestRotation: the chain goes on from file to file; what retention deleted is told, and nothing else may be missing.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write := func(keep int) {
		f, err := audit.Open(path, keyOf(t, path), audit.Options{MaxSize: 2000, Keep: keep, Sync: audit.SyncLater})
		require.NoError(t, err)
		for i := range 40 {
			require.NoError(t, f.Record(t.Context(), use(i)))
		}
		require.NoError(t, f.Close())
	}
	write(0)
	files, err := audit.Files(path)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 4, "nothing is deleted unless it is told to")
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(2000))
	}
	v := verify(t, path)
	require.Nil(t, v.Fault)
	require.Equal(t, []any{uint64(1), uint64(40), len(files)}, []any{v.From, v.Last, v.Files})
	early := audit.Anchor{Seq: 1}

	write(2)
	files, err = audit.Files(path)
	require.NoError(t, err)
	require.Len(t, files, 3)
	v = verify(t, path, early)
	require.Nil(t, v.Fault)
	require.Greater(t, v.From, uint64(40))
	require.Equal(t, v.Last+1-v.From, v.Lines)
	require.Equal(t, []string{early.String()}, v.Unchecked)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), `"action":"audit.pruned"`)

	require.NoError(t, os.Remove(files[0]))
	require.Equal(t, audit.Removed, verify(t, path).Fault.Kind)
}

// TestNotDeletedWhenAltered: an earlier file that the next one does not follow is evidence.
func TestNotDeletedWhenAltered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{MaxSize: 2000, Keep: 1, Log: quiet, Sync: audit.SyncLater})
	for len(readLog(t, path).names) < 2 {
		require.NoError(t, f.Record(t.Context(), use(1)))
	}
	c := readLog(t, path)
	c.lines[0] = c.lines[0][:len(c.lines[0])-1]
	content{c.names[:1], c.lines[:1]}.write(t)
	for range 20 {
		require.NoError(t, f.Record(t.Context(), use(1)))
	}
	require.FileExists(t, c.names[0])
}

// TestSpliced: a line of a fork of the log, under the same key and of the same number, is not taken for the one that was written here.
func TestSpliced(t *testing.T) {
	dir, fork := t.TempDir(), t.TempDir()
	write := func(dir string, n int) content {
		path := filepath.Join(dir, "audit.log")
		f, err := audit.Open(path, keyOf(t, path), audit.Options{})
		require.NoError(t, err)
		for i := range n {
			require.NoError(t, f.Record(t.Context(), use(rand.IntN(1e9)), use(i)))
		}
		require.NoError(t, f.Close())
		return readLog(t, path)
	}
	write(dir, 2)
	require.NoError(t, os.CopyFS(fork, os.DirFS(dir)))
	own, other := write(dir, 3), write(fork, 3)
	own.lines[0][6] = other.lines[0][6]
	own.write(t)
	fault := verify(t, filepath.Join(dir, "audit.log")).Fault
	require.NotNil(t, fault)
	require.Equal(t, []any{audit.Changed, 7}, []any{fault.Kind, fault.Line})
}

// TestOthersLinesTakenAway: a process that saw nothing of what another wrote since knows by the head that it is gone, and does not fill its place.
func TestOthersLinesTakenAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	told := false
	f, err := audit.Open(path, keyOf(t, path), audit.Options{Log: quiet, OnAltered: func() { told = true }})
	require.NoError(t, err)
	require.NoError(t, f.Record(t.Context(), use(1)))
	seen, err := os.ReadFile(path)
	require.NoError(t, err)
	other, err := audit.Open(path, keyOf(t, path), audit.Options{})
	require.NoError(t, err)
	require.NoError(t, other.Record(t.Context(), use(2), use(3)))
	require.NoError(t, other.Close())
	require.NoError(t, os.WriteFile(path, seen, 0o600))
	for range 5 {
		require.NoError(t, f.Record(t.Context(), use(4)))
	}
	require.NoError(t, f.Close())
	require.True(t, told)
	fault := verify(t, path).Fault
	require.NotNil(t, fault)
	require.Equal(t, []any{audit.Removed, 2}, []any{fault.Kind, fault.Line})
}

// TestEnd: what a kill, a full disk or a power cut leaves at the end is told of by the next line; anything else is found, before and after that is written.
func TestEnd(t *testing.T) {
	const begun = `{"v":1,"seq":4,"time":"2026-01`
	forged := `{"time":"2026-01-01T00:00:00.000Z","action":"tenant.shred","outcome":"ok","tenant":"clinic"}`
	zeros := strings.Repeat("\x00", 200<<10)
	for name, c := range map[string]struct {
		end string
		ok  bool
	}{
		"a line's begin": {begun, true}, "a byte": {"{", true}, "zeros": {zeros, true}, "a begin and zeros": {begun + zeros, true},
		"a line but for its end": {strings.TrimSuffix(otherLog(t, 4)[3], "\n"), true}, "twice": {begun + "\n" + begun, true},
		"zeros and an object": {zeros + forged + "\n", false}, "an object": {forged + "\n", false}, "an object without its end": {forged, false},
		"an object that begins as a line": {`{"v":1,"seq":4,` + forged[1:] + "\n", false}, "junk": {"junk", false}, "an empty line": {"\n", false},
		"a begin and an object": {begun + "\n" + forged, false}, "a long begin": {begun + strings.Repeat("x", 200<<10), false},
		"junk that is long": {strings.Repeat("junk", 100<<10) + "\n", false},
	} {
		path := filepath.Join(t.TempDir(), "audit.log")
		options := audit.Options{Log: quiet}
		f := open(t, path, options)
		require.NoError(t, f.Record(t.Context(), use(1), use(2), use(3)))
		require.NoError(t, f.Close())
		appendTo(t, path, c.end)
		check := func(recorded bool) {
			v := verify(t, path)
			if !c.ok {
				require.NotNil(t, v.Fault, name)
				require.Equal(t, []any{audit.Inserted, 4, uint64(4)}, []any{v.Fault.Kind, v.Fault.Line, v.Fault.Seq}, "%s: %+v", name, *v.Fault)
				require.Empty(t, v.Torn, name)
				return
			}
			require.Nil(t, v.Fault, name)
			require.Equal(t, []bool{recorded, !recorded}, []bool{len(v.Torn) == 1, v.End != ""}, name)
		}
		check(false)
		told := 0
		options.OnAltered = func() { told++ }
		f = open(t, path, options)
		require.NoError(t, f.Record(t.Context(), use(4)))
		check(true)
		require.Equal(t, c.ok, told == 0, name)
	}
}

// TestCutByItsEnd: a line that was cut short by its end alone is none.
func TestCutByItsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{})
	require.NoError(t, f.Record(t.Context(), use(1)))
	require.NoError(t, f.Close())
	head, err := os.ReadFile(strings.TrimSuffix(path, ".log") + ".head")
	require.NoError(t, err)
	require.NoError(t, open(t, path, audit.Options{}).Record(t.Context(), use(2)))
	c := readLog(t, path)
	c.lines[0][1] = strings.TrimSuffix(c.lines[0][1], "\n")
	copied := filepath.Join(t.TempDir(), "audit.log")
	content{[]string{copied}, c.lines}.write(t)
	require.NoError(t, os.WriteFile(strings.TrimSuffix(copied, ".log")+".head", head, 0o600))
	key, err := os.ReadFile(strings.TrimSuffix(path, ".log") + ".key")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(strings.TrimSuffix(copied, ".log")+".key", key, 0o600))
	require.NoError(t, open(t, copied, audit.Options{}).Record(t.Context(), use(3)))
	v := verify(t, copied)
	require.Nil(t, v.Fault)
	require.Len(t, v.Torn, 1)
}

// TestEach: only the lines of a log that is as it was written are given, and of no other log any error is nil.
func TestEach(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{MaxSize: 2000})
	for i := range 20 {
		require.NoError(t, f.Record(t.Context(), use(i)))
	}
	require.NoError(t, f.Close())
	var seen []uint64
	each := func(filter audit.Filter) error {
		seen = nil
		return audit.Each(t.Context(), path, keyOf(t, path), &filter, func(l *audit.Line) { seen = append(seen, l.Seq) })
	}
	require.NoError(t, each(audit.Filter{}))
	require.Len(t, seen, 20)
	require.True(t, slices.IsSorted(seen))
	require.NoError(t, each(audit.Filter{Tenant: "nobody"}))
	require.Empty(t, seen)
	appendTo(t, path, otherLog(t, 21)[20])
	require.ErrorIs(t, each(audit.Filter{}), audit.ErrAltered)
}

// TestFilesOfBefore: a file of before what retention kept is shown to nobody, and verify finds it, unless it is the one that a kill left; retention goes on.
func TestFilesOfBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write := func(until func() bool) {
		f, err := audit.Open(path, keyOf(t, path), audit.Options{MaxSize: 2000, Keep: 2, Sync: audit.SyncLater, Log: quiet})
		require.NoError(t, err)
		for !until() {
			require.NoError(t, f.Record(t.Context(), use(1)))
		}
		require.NoError(t, f.Close())
	}
	var first, second string // as they were before they were deleted
	var names []string
	write(func() bool {
		names = readLog(t, path).names
		return len(names) == 3
	})
	first, second = names[0], names[1]
	contents := map[string]string{}
	for _, name := range names[:2] {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		contents[name] = string(text)
	}
	write(func() bool {
		_, err := os.Stat(second)
		return err != nil
	})
	forged := `{"v":1,"seq":1,"time":"2026-11-30T00:00:00.000Z","severity":"critical","action":"tenant.shred","outcome":"ok","tenant":"forged","mac":"` +
		strings.Repeat("0", 64) + "\"}\n"
	before := filepath.Join(filepath.Dir(path), "audit-00000000000000000001.log")
	for name, c := range map[string]struct {
		path, text string
		found      bool
	}{
		"left by a kill":   {second, contents[second], false},
		"earlier":          {first, contents[first], true},
		"forged":           {before, forged, true},
		"forged, as named": {second, forged, true},
	} {
		require.NoError(t, os.WriteFile(c.path, []byte(c.text), 0o600))
		require.Empty(t, tailOf(t, path, 100, audit.Filter{Tenant: "forged"}), name)
		entries, _, err := audit.Page(t.Context(), path, audit.Query{Tenant: "forged", Limit: 10})
		require.NoError(t, err)
		require.Empty(t, entries, name)
		require.NotContains(t, readLog(t, path).names, c.path, name)
		v := verify(t, path)
		require.Equal(t, c.found, v.Fault != nil, name)
		if c.found {
			require.Equal(t, []any{audit.Inserted, filepath.Base(c.path)}, []any{v.Fault.Kind, v.Fault.File}, name)
		}
		require.NoError(t, os.Remove(c.path))
	}
	require.NoError(t, os.WriteFile(before, []byte(forged), 0o600))
	oldest := readLog(t, path).names[0]
	write(func() bool {
		_, err := os.Stat(oldest)
		return err != nil
	})
	require.FileExists(t, before)
}

// TestHeadTakenAway: a process that writes notices that the head is gone, or another than before, and says so in the log; a line need not be written then.
func TestHeadTakenAway(t *testing.T) {
	for name, take := range map[string]func(head string, first []byte) error{
		"gone":     func(head string, _ []byte) error { return os.Remove(head) },
		"false":    func(head string, _ []byte) error { return durable.Replace(head, []byte("{}\n")) },
		"put back": func(head string, first []byte) error { return durable.Replace(head, first) },
	} {
		for _, more := range []bool{true, false} {
			t.Run(fmt.Sprint(name, more), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "audit.log")
				head := strings.TrimSuffix(path, ".log") + ".head"
				told := 0
				f, err := audit.Open(path, keyOf(t, path), audit.Options{Log: quiet, OnAltered: func() { told++ }})
				require.NoError(t, err)
				first, err := os.ReadFile(head)
				require.NoError(t, err)
				require.NoError(t, f.Record(t.Context(), use(1)))
				require.Eventually(t, func() bool {
					now, err := f.Head()
					return err == nil && now.Seq == 1
				}, 10*time.Second, 10*time.Millisecond)
				require.NoError(t, take(head, first))
				if more {
					require.NoError(t, f.Record(t.Context(), use(2)))
					require.NoError(t, f.Record(t.Context(), use(3)))
				}
				require.NoError(t, f.Close())
				require.Equal(t, 1, told, name)
				require.Equal(t, 1, strings.Count(strings.Join(readLog(t, path).lines[0], ""), `"severity":"critical","action":"audit.altered"`), name)
				now, err := f.Head()
				require.NoError(t, err)
				require.EqualValues(t, len(lines(t, path)), now.Seq, name)
				require.Equal(t, audit.Told, verify(t, path).Fault.Kind, name)
			})
		}
	}
}

// TestBreaks: beside the first fault, it is told how many there are, and in which files.
func TestBreaks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{Sync: audit.SyncLater, MaxSize: 3000})
	for i := range 30 {
		require.NoError(t, f.Record(t.Context(), use(i)))
	}
	require.NoError(t, f.Close())
	require.Empty(t, verify(t, path).Breaks)
	c := readLog(t, path)
	require.GreaterOrEqual(t, len(c.names), 3)
	c.lines[0][1] = strings.Replace(c.lines[0][1], "clinic", "clinik", 1)
	c.lines[0] = slices.Insert(c.lines[0], 5, "junk\n")
	c.lines[0] = slices.Delete(c.lines[0], 8, 9)
	c.lines[2] = append(c.lines[2], "junk\n")
	c.write(t)
	v := verify(t, path)
	require.Equal(t, []any{audit.Changed, 2}, []any{v.Fault.Kind, v.Fault.Line})
	require.Equal(t, []audit.Breaks{{filepath.Base(c.names[0]), 3}, {filepath.Base(c.names[len(c.names)-1]), 1}}, append(v.Breaks[:1:1], v.Breaks[len(v.Breaks)-1]))
}

// TestPutBack: a log that was away for a moment, and is back whole, was not altered, be the last line noted or not.
func TestPutBack(t *testing.T) {
	for range 3 {
		path := filepath.Join(t.TempDir(), "audit.log")
		f := open(t, path, audit.Options{Log: quiet})
		require.NoError(t, f.Record(t.Context(), use(1), use(2)))
		require.NoError(t, os.Rename(path, path+".kept"))
		require.NoError(t, os.Symlink("/dev/full", path))
		require.Error(t, f.Record(t.Context(), use(3)))
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Rename(path+".kept", path))
		require.NoError(t, f.Record(t.Context(), use(4)))
		require.NoError(t, f.Close())
		require.Nil(t, verify(t, path).Fault)
	}
}

// TestBegun: that a log is begun where there is none is told, and from when its first line is.
func TestBegun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var said bytes.Buffer
	for range 2 {
		f, err := audit.Open(path, keyOf(t, path), audit.Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
		require.NoError(t, err)
		require.NoError(t, f.Record(t.Context(), use(1)))
		require.NoError(t, f.Close())
	}
	require.Equal(t, 1, strings.Count(said.String(), "one is begun"))
	require.Equal(t, lines(t, path)[0]["time"], verify(t, path).Since)
}
