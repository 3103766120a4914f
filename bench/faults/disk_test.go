package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// disk is an ext4 file system in a file, which root can fill, freeze and make read-only.
type disk struct {
	t      *testing.T
	path   string // mount point
	image  string
	filler string
}

const diskSize = 256 << 20

func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	d := &disk{t: t, path: filepath.Join(dir, "disk"), image: filepath.Join(dir, "image"), filler: filepath.Join(dir, "disk", "filler")}
	require.NoError(t, os.Mkdir(d.path, 0o700))
	require.NoError(t, os.WriteFile(d.image, nil, 0o600))
	require.NoError(t, os.Truncate(d.image, diskSize))
	d.run("mkfs.ext4", "-q", "-m", "0", d.image)
	d.run("mount", "-o", "loop", d.image, d.path)
	t.Cleanup(func() { d.run("umount", "--lazy", d.path) })
	return d
}

func (d *disk) run(name string, args ...string) {
	d.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(d.t, err, "%s: %s", name, out)
}

// fill uses all remaining space.
func (d *disk) fill() {
	f, err := os.Create(d.filler)
	require.NoError(d.t, err)
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
}

func (d *disk) free() { require.NoError(d.t, os.Remove(d.filler)) }

// freeze blocks every write to the disk until thaw.
func (d *disk) freeze() { d.run("fsfreeze", "--freeze", d.path) }
func (d *disk) thaw()   { d.run("fsfreeze", "--unfreeze", d.path) }

// abort makes the mounted file system read-only, as ext4 does after a device error.
func (d *disk) abort() { d.run("mount", "-o", "remount,abort", d.path) }

// repair mounts the file system again, as an operator would.
func (d *disk) repair() {
	d.run("umount", "--lazy", d.path)
	d.run("mount", "-o", "loop", d.image, d.path)
}
