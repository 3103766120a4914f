package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
)

type diagnosis struct {
	Verdict string
	Checks  []struct{ Check, Verdict, Found, Do string }
}

// diagnose runs coffer doctor, which must exit with the given code.
func diagnose(t *testing.T, environ []string, code int, args ...string) (d diagnosis) {
	t.Helper()
	cmd := program(t, environ, append([]string{"doctor", "--json"}, args...)...)
	out, _ := cmd.Output() // the exit code is checked below
	require.Equal(t, code, cmd.ProcessState.ExitCode(), string(out))
	require.NoError(t, json.Unmarshal(out, &d), string(out))
	return d
}

// requireFinding requires that the check has a finding with the verdict and the text.
func (d diagnosis) requireFinding(t *testing.T, check, verdict, text string) {
	t.Helper()
	for _, c := range d.Checks {
		if c.Check == check && c.Verdict == verdict && strings.Contains(c.Found+": "+c.Do, text) {
			return
		}
	}
	require.Failf(t, "no such finding", "%s %s %q in %+v", check, verdict, text, d.Checks)
}

// tree returns the names, sizes and modes of the files below a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		found[path] = string(content)
		return err
	}))
	return found
}

// A server runs at the same time. The command changes no file.
func TestDoctorFindsNothingInASoundInstallation(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	require.NoError(t, os.Chmod(data, 0o700))
	p := serve(t, data, environ...)
	p.put(p.token, "k", record)
	d := diagnose(t, environ, 0, "--data", data, "--listen", p.url[len("http://"):])
	require.Equal(t, "warn", d.Verdict)
	d.requireFinding(t, "readiness", "ok", "is ready")
	d.requireFinding(t, "permissions", "ok", "closed to other users")
	d.requireFinding(t, "configuration", "warn", "the KEK is local")
	d.requireFinding(t, "tokens", "warn", "has every scope, and never expires")
	d.requireFinding(t, "keysets", "ok", "the keysets of all 1 tenants open")
	d.requireFinding(t, "KMS", "ok", "unwrap")
	d.requireFinding(t, "backup", "warn", "has no backup that succeeded")
	d.requireFinding(t, "clock", "ok", "")
	require.Zero(t, p.stop(syscall.SIGTERM))

	backup := filepath.Join(t.TempDir(), "backup")
	coffer(t, environ, "keys", "backup", "--data", data, "--out", backup)
	coffer(t, environ, "keys", "drill", "--data", data, "--in", backup)
	before := tree(t, data)
	d = diagnose(t, environ, 0, "--data", data, "--listen", "127.0.0.1:1")
	require.Equal(t, before, tree(t, data))
	d.requireFinding(t, "backup", "ok", "the last backup was at")
	d.requireFinding(t, "drill", "ok", "the last drill was at")
	d.requireFinding(t, "readiness", "ok", "no server answers")
	require.Regexp(t, `(?m)^ok +keysets +the keysets of all 1 tenants open; 0 tenants are shredded$`, coffer(t, environ, "doctor", "--data", data))

	d = diagnose(t, []string{"ENCRYPTION_MASTER_KEY=" + masterB}, 1, "--data", data)
	d.requireFinding(t, "keysets", "fail", "is not the key that the keys in")
}

func TestDoctorFindsSeveralFaults(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	require.Zero(t, serve(t, data).stop(syscall.SIGTERM))
	redis := redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	full := redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "noeviction")
	reserved := redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl")
	for user, denied := range map[string][]any{"service": {"-config"}, "app": {"-config", "-info"}} {
		require.NoError(t, reserved.Client(t).Do(t.Context(), append([]any{"ACL", "SETUSER", user, "on", ">pw", "~*", "&*", "+@all"}, denied...)...).Err())
	}
	away := redistest.Start(t)
	away.Stop()
	for _, fault := range []struct {
		spoil                func()
		environ              []string
		args                 []string
		code                 int
		check, verdict, text string
	}{
		{nil, []string{"COFFER_TRUSTED_PROXIES=0.0.0.0/0"}, nil, 0, "configuration", "warn", "trusts every address"},
		{nil, []string{"COFFER_TRUSTED_PROXIES=0.0.0.0/1,128.0.0.0/1"}, nil, 0, "configuration", "warn", "trusts every address"},
		{nil, []string{"COFFER_PRODUCTION=true"}, nil, 1, "configuration", "fail", "set KMS_PROVIDER"},
		{nil, []string{"COFFER_PRODUCTION=true"}, nil, 1, "limits", "warn", "COFFER_RATE, COFFER_CONCURRENT are off"},
		{nil, nil, []string{"--listen", "0.0.0.0:1"}, 0, "listening", "warn", "without TLS"},
		{nil, []string{"REDIS_URL=redis://" + redis.Addr}, nil, 0, "Redis", "warn", "removes entries when its memory is full (maxmemory-policy allkeys-lru)"},
		{nil, []string{"REDIS_URL=redis://" + full.Addr}, nil, 0, "Redis", "ok", "answers in"},
		{nil, []string{"REDIS_URL=redis://app:pw@" + reserved.Addr}, nil, 0, "Redis", "warn", "does not report whether it removes entries"},
		{nil, []string{"REDIS_URL=redis://" + full.Addr, "COFFER_KEYS_REDIS_URL=redis://service:pw@" + reserved.Addr}, nil, 1, "Redis", "fail", "the Redis of the keysets removes entries"},
		{nil, []string{"REDIS_URL=redis://" + away.Addr}, nil, 1, "Redis", "fail", "nothing listens on"},
		{nil, []string{"REDIS_URL=redis://" + redis.Addr, "COFFER_KEYS_REDIS_URL=redis://" + redis.Addr + "/1"}, nil, 1, "Redis", "fail", "appendonly yes"},
		{func() { require.NoError(t, os.Chmod(data, 0o755)) }, nil, nil, 0, "permissions", "ok", ""},
		{func() { require.NoError(t, os.Chmod(filepath.Join(data, "master.key"), 0o644)) }, nil, nil, 1, "permissions", "fail", "master.key can be read by every user"},
		{func() { require.NoError(t, os.Chmod(data, 0o777)) }, nil, nil, 1, "permissions", "fail", "can be changed by every user"},
		{func() { require.NoError(t, os.Rename(filepath.Join(data, "audit"), filepath.Join(data, "away"))) }, nil, nil, 1, "audit log", "fail", "is gone"},
		{func() {
			require.NoError(t, os.Chmod(filepath.Join(data, "master.key"), 0o600))
			require.NoError(t, os.Rename(filepath.Join(data, "keys"), filepath.Join(data, "keys.away")))
		}, nil, nil, 1, "keysets", "fail", "are missing from"},
		{func() { require.NoError(t, os.Remove(filepath.Join(data, "master.key"))) }, nil, nil, 1, "KMS", "fail", "no KEK is configured"},
	} {
		if fault.spoil != nil {
			fault.spoil()
		}
		d := diagnose(t, fault.environ, fault.code, append([]string{"--data", data}, fault.args...)...)
		d.requireFinding(t, fault.check, fault.verdict, fault.text)
	}
}

func TestServerWarnsAboutAnExposedDataDirectory(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	require.NoError(t, os.Chmod(data, 0o777))
	p := serve(t, data)
	p.logs(data + " can be changed by every user of this host")
}
