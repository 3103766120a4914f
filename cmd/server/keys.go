package main

import (
	"github.com/spf13/cobra"
)

func keysCommand() *cobra.Command {
	group := &cobra.Command{
		Use:     "keys",
		GroupID: groupAdmin,
		Short:   "Manage tenants' keys: list, disable and destroy them, move them to another KMS, back them up, restore them, shred a tenant",
		Long: "Works on the keysets of all tenants, with the configuration of the server: the same environment variables and --data.\n" +
			"Servers may run meanwhile. Everything is recorded in the audit log of the data directory.",
	}
	group.AddCommand(keysListCommand(), keysDisableCommand(), keysDestroyCommand(), keysRewrapCommand(), keysShredCommand(), keysBackupCommand(), keysRestoreCommand(), keysDrillCommand())
	return group
}
