package durable

import (
	"os"
	"strings"
)

// BootID returns an id that is unique to the present boot of this machine. It is empty on systems other than Linux.
func BootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
