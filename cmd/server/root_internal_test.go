package main

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/codes"
)

// withoutJSON are the commands whose output has a form of its own: a server's lines, a shell's script, and pages.
var withoutJSON = []string{
	"coffer serve", "coffer man", "coffer help", "coffer completion bash", "coffer completion zsh", "coffer completion fish", "coffer completion powershell",
}

func TestEveryCommandHasJSON(t *testing.T) {
	seen := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.HasSubCommands() || cmd.RunE == nil && cmd.Run == nil {
			return
		}
		for _, path := range withoutJSON {
			if cmd.CommandPath() == path {
				return
			}
		}
		seen++
		require.NotNil(t, cmd.Flags().Lookup("json"), "%s has no --json: addJSON and show", cmd.CommandPath())
	}
	walk(rootCommand())
	require.Greater(t, seen, 15)
}

func TestExitCodesBelongToExistingCodes(t *testing.T) {
	for code := range exitCodes {
		require.GreaterOrEqual(t, codes.Number(code), 0, code)
	}
}
