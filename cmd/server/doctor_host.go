package main

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/internal/durable"
)

func checkConfiguration(_ context.Context, p *installation) (found []finding) {
	for _, text := range p.warnings {
		found = append(found, finding{Verdict: verdictWarning, Found: text})
	}
	if err := p.config.CheckProduction(); err != nil {
		found = append(found, failureFinding("", "%s", errorText(err)))
	} else if p.config.Local() {
		found = append(found, warningFinding("set KMS_PROVIDER or COFFER_KEK", "the KEK is local: anyone who reads this host's files or environment reads all data"))
	}
	if len(found) == 0 {
		found = append(found, okFinding("environment %s, production %t", p.config.Environment, p.config.Production))
	}
	return found
}

// exposure is a path that every user of this host can read or change, but must not.
type exposure struct {
	path   string
	writes bool // they can change it
}

func (e exposure) String() string {
	if e.writes {
		return e.path + " can be changed by every user of this host"
	}
	return e.path + " can be read by every user of this host"
}

// secretFiles are the files and directories of a data directory that have secrets, or that the server trusts. The others have ciphertext.
var secretFiles = []string{"master.key", "audit", "keys", "keys/keys.db", "cache", "cache/cache.db"}

// exposures returns the data directory and the paths in it that every user can reach. A user who cannot enter the directory reaches none of them.
func exposures(data string) (found []exposure) {
	if runtime.GOOS == "windows" {
		return nil // it has no such modes
	}
	look := func(path string, readable bool) bool {
		info, err := os.Stat(path)
		if err != nil {
			return false
		}
		mode := info.Mode().Perm()
		if mode&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			found = append(found, exposure{path, true})
		} else if mode&0o004 != 0 && readable {
			found = append(found, exposure{path, false})
		}
		return mode&0o001 != 0
	}
	if enter := look(data, false); !enter {
		return found
	}
	for _, name := range secretFiles {
		path := filepath.Join(data, name)
		info, err := os.Stat(path)
		look(path, err == nil && !info.IsDir())
	}
	return found
}

func checkPermissions(_ context.Context, p *installation) (found []finding) {
	for _, e := range exposures(p.config.Data) {
		found = append(found, failureFinding("chmod o-rwx "+e.path, "%s", e))
	}
	if len(found) == 0 {
		found = append(found, okFinding("%s is closed to other users", p.config.Data))
	}
	return found
}

func checkListening(_ context.Context, p *installation) []finding {
	host, _, _ := net.SplitHostPort(p.config.Listen) // config checked it
	ip, err := netip.ParseAddr(host)
	if host == "localhost" || err == nil && ip.IsLoopback() {
		return []finding{okFinding("on %s, which only this host can reach", p.config.Listen)}
	}
	return []finding{warningFinding("allow only a proxy with TLS to reach it: tokens are sent in the clear", "on %s, beyond this host, without TLS", p.config.Listen)}
}

func checkReadiness(ctx context.Context, p *installation) []finding {
	address := localAddress(p.config.Listen)
	err := probe(ctx, "http://"+address+"/readyz")
	switch {
	case err == nil:
		return []finding{okFinding("the server on %s is ready", address)}
	case exitOf(err, true) == exitUnreachable:
		return []finding{okFinding("no server answers on %s", address)}
	}
	return []finding{failureFinding("see its log", "the server on %s is %s", address, errorText(err))}
}

// The minimums below which the doctor warns.
const (
	minOpenFiles  = 4096
	minFreeFactor = 4 // times COFFER_MIN_FREE
)

func checkLimits(_ context.Context, p *installation) (found []finding) {
	l := &p.config.Limits
	off := []string{}
	for _, limit := range []struct {
		name  string
		value int
	}{
		{"COFFER_RATE", l.Rate}, {"COFFER_CONCURRENT", l.Concurrent}, {"COFFER_BYTES", l.Bytes}, {"COFFER_TENANT_BYTES", l.TenantBytes}, {"COFFER_TOKEN_FAILURES", l.Failures},
	} {
		if limit.value == 0 {
			off = append(off, limit.name)
		}
	}
	if len(off) > 0 && p.config.Production {
		found = append(found, warningFinding("set them, so that one tenant cannot use up the resources of others", "%s are off", strings.Join(off, ", ")))
	}
	if files, err := maxOpenFiles(); err == nil && files < minOpenFiles {
		found = append(found, warningFinding("raise it to 65536 (LimitNOFILE= in systemd)", "this user may open %d files at once, and each connection needs one", files))
	}
	if memory, ok := cgroupMemory(); ok && l.Bytes > 0 && memory < 2*int64(l.Bytes) {
		found = append(found, failureFinding("raise the memory limit, or lower COFFER_BYTES to a third of it", "the memory limit of this control group, %s, is less than twice COFFER_BYTES",
			formatSize(memory)))
	}
	if len(found) == 0 {
		found = append(found, okFinding("sufficient"))
	}
	return found
}

// cgroupMemory returns the memory limit of this process's control group, if there is one.
func cgroupMemory() (int64, bool) {
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return n, err == nil && n < 1<<60 // a larger number means no limit
	}
	return 0, false
}

func checkFreeSpace(_ context.Context, p *installation) []finding {
	free, err := durable.FreeSpace(p.config.Data)
	switch {
	case err != nil:
		return []finding{warningFinding("", "cannot read the free space: %s", errorText(err))}
	case free < p.config.MinFree:
		return []finding{failureFinding("free some: writes are refused", "%s are free for %s", formatSize(free), p.config.Data)}
	case free < minFreeFactor*p.config.MinFree:
		return []finding{warningFinding("free some, or move the data directory", "%s are free for %s", formatSize(free), p.config.Data)}
	}
	return []finding{okFinding("%s are free for %s", formatSize(free), p.config.Data)}
}

// formatSize returns a number of bytes with a unit.
func formatSize(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n)/unit, "KMGTPE"
	i := 0
	for value >= unit {
		value, i = value/unit, i+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[i])
}

// maxClockSkew is the tolerated difference between two clocks.
const maxClockSkew = 5 * time.Second

func checkClock(ctx context.Context, p *installation) (found []finding) {
	if built, err := time.Parse(time.RFC3339, readBuild().Time); err == nil && p.now.Before(built) {
		found = append(found, failureFinding("set the clock", "the clock is earlier than this program was made, %s", formatTime(built, "")))
	}
	if newest, err := newestLine(ctx, p.config); err == nil && newest.After(p.now.Add(maxClockSkew)) {
		found = append(found, failureFinding("set the clock: entries would live longer than their class allows", "the clock is earlier than the newest line of the audit log, %s",
			formatTime(newest, "")))
	}
	found = append(found, checkRedisClocks(ctx, p)...)
	if len(found) == 0 {
		found = append(found, okFinding("%s", p.now.UTC().Format(time.RFC3339)))
	}
	return found
}
