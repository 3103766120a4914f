package recovery_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// victim runs an operation in a site's directory, in a process that is to be killed. Its argument is "operation
// directory argument".
const victim = "COFFER_RECOVERY_TEST_VICTIM"

// kills is how often each operation is killed.
func kills(t *testing.T) int {
	text := os.Getenv("COFFER_KILLS")
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// TestVictim runs in the process that is killed. It prints "begun", and then each step that it has done.
func TestVictim(t *testing.T) {
	operation, rest, ok := strings.Cut(os.Getenv(victim), " ")
	if !ok {
		t.Skip("it is run by the others")
	}
	dir, argument, _ := strings.Cut(rest, " ")
	s := &site{t, dir, &events{}}
	do := map[string]func(){
		"rewrap": func() {
			from, next := urlA, urlB
			if argument == "back" {
				from, next = urlB, urlA
			}
			r := s.under(to(t, from))
			fmt.Println("begun")
			_, err := r.Rewrap(t.Context(), to(t, next), false)
			require.NoError(t, err)
			_, err = r.FinishRewrap(t.Context(), to(t, next))
			require.NoError(t, err)
		},
		"backup": func() {
			r := s.a()
			fmt.Println("begun")
			for i := 0; ; i++ {
				file := backup(t, r)
				require.NoError(t, durable.Create(fmt.Sprint(argument, i), file))
				fmt.Println(i)
			}
		},
		"restore": func() {
			file, err := os.ReadFile(argument)
			require.NoError(t, err)
			r := s.a()
			fmt.Println("begun")
			_, err = r.Restore(t.Context(), reading(file), nil)
			require.NoError(t, err)
		},
		"shred": func() {
			r := s.logged(t)
			fmt.Println("begun")
			for i := range 12 {
				require.NoError(t, r.Shred(t.Context(), fmt.Sprint("tenant-", i)))
				fmt.Println(i)
			}
		},
		"destroy": func() {
			r := s.logged(t)
			fmt.Println("begun")
			for i := range 12 {
				require.NoError(t, retire(t, r, former(t, r, fmt.Sprint("tenant-", i)), envelope.Destroyed))
				fmt.Println(i)
			}
		},
	}[operation]
	do()
	fmt.Println("ended")
}

// logged returns a Recovery like a(), with an audit log on disk.
func (s *site) logged(t *testing.T) *recovery.Recovery {
	key := audit.NewKey(new(secret.Key))
	log, err := audit.Open(filepath.Join(s.dir, "audit"), key, audit.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	r := s.a()
	r.Audit = log
	return r
}

// killer kills victims at random moments during their work.
type killer struct {
	t       *testing.T
	longest time.Duration
	killed  int
	ran     int
}

func newKiller(t *testing.T) *killer { return &killer{t: t, longest: 100 * time.Millisecond} }

// more reports whether another kill is needed.
func (k *killer) more() bool {
	enough := kills(k.t)
	require.Less(k.t, k.ran, 50*enough, "its work is too short to be killed at")
	if k.killed == enough {
		k.t.Logf("%d of %d were killed at work", k.killed, k.ran)
	}
	return k.killed < enough
}

// run runs a victim, kills it, and returns the steps that it printed.
func (k *killer) run(what ...string) (lines []string) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), victim+"="+strings.Join(what, " "))
	out, err := cmd.StdoutPipe()
	require.NoError(k.t, err)
	require.NoError(k.t, cmd.Start())
	scanner := bufio.NewScanner(out)
	for scanner.Scan() && scanner.Text() != "begun" {
	}
	begun := time.Now()
	timer := time.AfterFunc(rand.N(k.longest), func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	k.ran++
	for scanner.Scan() {
		if scanner.Text() == "ended" {
			k.longest = max(time.Since(begun), time.Millisecond)
			_ = cmd.Wait()
			return lines
		}
		lines = append(lines, scanner.Text())
	}
	require.Error(k.t, cmd.Wait())
	require.Equal(k.t, -1, cmd.ProcessState.ExitCode(), "it failed: %v", lines)
	k.killed++
	return lines
}

// Wherever a rewrap is killed, one of the two KEKs opens everything, a running server is not affected, and the next
// run completes the rewrap.
func TestKilledRewrapCanBeRepeated(t *testing.T) {
	s := newSite(t)
	all := populate(t, s.a(), 12)
	server := s.server()
	openAll(t, server, all, "")
	from, next, way := urlA, urlB, "there"
	for k := newKiller(t); k.more(); {
		k.run("rewrap", s.dir, way)
		openAll(t, server, all, "")
		former, latter := s.under(to(t, from)), s.under(to(t, next))
		if opened(former, all) < len(all) {
			require.Equal(t, len(all), opened(latter, all))
		}
		for range 2 { // a repetition changes nothing
			_, err := former.Rewrap(t.Context(), to(t, next), false)
			require.NoError(t, err)
			_, err = former.FinishRewrap(t.Context(), to(t, next))
			require.NoError(t, err)
		}
		require.Equal(t, len(all), opened(s.under(to(t, next)), all))
		require.Zero(t, opened(s.under(to(t, from)), all))
		from, next = next, from
		way = map[string]string{"there": "back", "back": "there"}[way]
	}
}

func opened(r *recovery.Recovery, all []sealed) (n int) {
	for _, p := range all {
		if p.open(r) == nil {
			n++
		}
	}
	return n
}

// A killed backup leaves a complete file or no file.
func TestKilledBackupLeavesNoPartialFile(t *testing.T) {
	s := newSite(t)
	populate(t, s.a(), 12)
	r, made := s.a(), 0
	for k := newKiller(t); k.more(); {
		out := t.TempDir()
		said := k.run("backup", s.dir, filepath.Join(out, "backup-"))
		files, err := filepath.Glob(filepath.Join(out, "backup-*"))
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(files), len(said))
		for _, path := range files {
			file, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = r.Drill(t.Context(), reading(file))
			require.NoError(t, err)
			made++
		}
	}
	require.Positive(t, made)
}

// A killed restore removes nothing, and the next one restores everything.
func TestKilledRestoreCanBeRepeated(t *testing.T) {
	s := newSite(t)
	all := populate(t, s.a(), 12)
	path := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, durable.Create(path, backup(t, s.a())))
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	for k := newKiller(t); k.more(); {
		lost := map[string]bool{}
		for i := range 12 {
			if id := fmt.Sprint("tenant-", i); rand.IntN(2) == 0 {
				lost[id] = true
				keystoretest.Put(t, s.store(), keystore.Keysets, id, nil)
			}
		}
		r := s.a()
		var kept []sealed
		for _, p := range all {
			if !lost[p.tenant] {
				kept = append(kept, p)
			}
		}
		if len(kept) > 0 { // a key that the backup lacks
			tenant, err := r.Keyring.Tenant(t.Context(), kept[0].tenant)
			require.NoError(t, err)
			_, err = tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
			require.NoError(t, err)
			kept = append(kept, sealWith(t, r, kept[0].tenant, classify.PHI))
		}
		k.run("restore", s.dir, path)
		openAll(t, s.a(), kept, "")
		_, err = s.a().Restore(t.Context(), reading(file), nil)
		require.NoError(t, err)
		openAll(t, s.a(), append(kept, all...), "")
	}
}

// After a kill, every tenant that was reported as shredded is shredded, and every tenant that was not reached is not.
// A restore of an earlier backup keeps the former shredded because of the audit log.
func TestKilledShredIsConsistent(t *testing.T) {
	for k := newKiller(t); k.more(); {
		s := newSite(t)
		var all []sealed
		for i := range 12 {
			all = append(all, sealWith(t, s.a(), fmt.Sprint("tenant-", i), classify.PHI))
		}
		file := backup(t, s.a())
		said := len(k.run("shred", s.dir))
		after := s.a()
		openAll(t, after, all[:said], "key_destroyed")
		openAll(t, after, all[min(said+1, len(all)):], "")

		key := audit.NewKey(new(secret.Key))
		shredded := &recovery.Tombstones{}
		require.NoError(t, shredded.AddLog(context.Background(), filepath.Join(s.dir, "audit"), key))
		s.lose()
		_, err := s.a().Restore(context.Background(), reading(file), shredded)
		require.NoError(t, err)
		openAll(t, s.a(), all[:said], "key_destroyed")
		openAll(t, s.a(), all[min(said+1, len(all)):], "")
	}
}

// After a kill, every key that was reported as destroyed is destroyed, and every key that was not reached is not. A
// restore of an earlier backup keeps the former destroyed because of the audit log.
func TestKilledDestructionIsConsistent(t *testing.T) {
	for k := newKiller(t); k.more(); {
		s := newSite(t)
		r := s.a()
		var keys []lifecycle.Key
		for i := range 12 {
			keys = append(keys, primary(t, r, fmt.Sprint("tenant-", i)))
			rotateOf(t, r, keys[i])
			require.NoError(t, retire(t, r, keys[i], envelope.Disabled))
		}
		file := backup(t, r)
		said := len(k.run("destroy", s.dir))
		check := func() {
			t.Helper()
			after := s.a()
			for i, key := range keys {
				switch {
				case i < said:
					require.Equal(t, envelope.Destroyed, stateIn(t, after, key), i)
				case i > said:
					require.Equal(t, envelope.Disabled, stateIn(t, after, key), i)
				}
			}
		}
		check()
		endings := s.endings(t)
		s.lose()
		_, err := s.a().Restore(context.Background(), reading(file), endings)
		require.NoError(t, err)
		check()
	}
}
