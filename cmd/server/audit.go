package main

import (
	"github.com/spf13/cobra"
)

func auditCommand() *cobra.Command {
	group := &cobra.Command{
		Use:     "audit",
		GroupID: groupAdmin,
		Short:   "Verify, read or restart the audit log",
		Long:    "Works on the audit log in the data directory or in a copy of it. Servers may write to it at the same time.",
	}
	group.AddCommand(auditVerifyCommand(), auditTailCommand(), auditBeginCommand())
	return group
}
