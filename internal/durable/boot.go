package durable

import (
	"os"
	"strings"
)

// BootID returns an id of the time since this machine started, which another machine does not have. It is empty on
// systems other than Linux.
func BootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
