package main

import (
	"github.com/spf13/cobra"
)

func auditCommand() *cobra.Command {
	group := &cobra.Command{
		Use:     "audit",
		GroupID: groupAdmin,
		Short:   "Check and read the audit log, or begin another one",
		Long:    "Works on the audit log in the data directory, or in a copy of it. Servers may write to it in the meantime.",
	}
	group.AddCommand(auditVerifyCommand(), auditTailCommand(), auditBeginCommand())
	return group
}
