package orphan

import (
	"os/exec"
	"testing"
)

// TestOrphan leaves a process behind.
func TestOrphan(t *testing.T) {
	if err := exec.Command("sleep", "1000").Start(); err != nil {
		t.Fatal(err)
	}
}
