package main

import (
	"github.com/spf13/cobra"
)

func keysCommand() *cobra.Command {
	group := &cobra.Command{
		Use:     "keys",
		GroupID: groupAdmin,
		Short:   "List, disable, destroy, rewrap, back up and restore tenants' keys, and shred tenants",
		Long: "Works on the keysets of all tenants with the server's configuration: the same environment variables and --data. Servers may run.\n" +
			"Everything is recorded in the audit log of the data directory.",
	}
	group.AddCommand(keysListCommand(), keysDisableCommand(), keysDestroyCommand(), keysRewrapCommand(), keysShredCommand(), keysBackupCommand(), keysRestoreCommand(), keysDrillCommand())
	return group
}
