package proctest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// roleVariable is the environment variable with the role of a process of RoleCommand.
const roleVariable = "PROCTEST_ROLE"

// Main is the body of a TestMain. It runs the package's tests and then the cleanups, or, in a process of RoleCommand, the
// role that the process has. It does not return. Role functions take the arguments of RoleCommand from os.Args[1:].
func Main(m *testing.M, roles map[string]func(testing.TB), cleanups ...func()) {
	name := os.Getenv(roleVariable)
	if name == "" {
		code := m.Run()
		for _, cleanup := range cleanups {
			cleanup()
		}
		os.Exit(code)
	}
	_ = os.Unsetenv(roleVariable)
	run, ok := roles[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "proctest: the package has no role %q\n", name)
		os.Exit(exitFailed)
	}
	p := &process{name: name}
	run(p)
	p.end()
	os.Exit(0)
}

// RoleCommand returns a command that runs this test binary in a role of Main. The command ends with the test, and inherits
// the environment: append to its Env.
func RoleCommand(t testing.TB, role string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatalf("proctest: find the test binary: %v", err)
	}
	cmd := Command(t, path, args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	return cmd
}

// exitFailed is the exit status of a role that failed.
const exitFailed = 3

// process is the testing.TB of a role. A failure is written to standard error and ends the process, also if another
// goroutine than the role's own fails. Methods that are not listed here panic.
type process struct {
	testing.TB
	name     string
	cleanups []func()
}

func (p *process) Helper()                  {}
func (p *process) Name() string             { return p.name }
func (p *process) Failed() bool             { return false }
func (p *process) Context() context.Context { return context.Background() }
func (p *process) Cleanup(f func())         { p.cleanups = append(p.cleanups, f) }
func (p *process) Log(args ...any)          { fmt.Fprintln(os.Stderr, args...) }
func (p *process) Logf(f string, a ...any)  { fmt.Fprintf(os.Stderr, f+"\n", a...) }
func (p *process) FailNow()                 { os.Exit(exitFailed) }
func (p *process) Fail()                    { p.FailNow() }

func (p *process) Error(args ...any) {
	p.Log(args...)
	p.FailNow()
}

func (p *process) Errorf(f string, a ...any) {
	p.Logf(f, a...)
	p.FailNow()
}

func (p *process) Fatal(args ...any)         { p.Error(args...) }
func (p *process) Fatalf(f string, a ...any) { p.Errorf(f, a...) }

// TempDir returns a directory that is removed when the role ends.
func (p *process) TempDir() string {
	dir, err := os.MkdirTemp("", p.name)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// end runs the cleanups, the last one first.
func (p *process) end() {
	for i := len(p.cleanups) - 1; i >= 0; i-- {
		p.cleanups[i]()
	}
}
