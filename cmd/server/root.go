package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// The groups of commands in the help.
const (
	groupServer = "server"
	groupAdmin  = "admin"
	groupAbout  = "about"
)

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "coffer",
		Short: "Encrypted storage for sensitive data",
		Long: "Coffer encrypts sensitive data at rest.\n\n" +
			"Settings are environment variables and flags: `coffer serve --help` lists them, `coffer config` shows the values in force.\n\n" + exitHelp,
		Example: "  coffer serve --data coffer-data            # the server; the first start prints a token\n" +
			"  coffer token create --data coffer-data     # another token\n" +
			"  coffer config                              # the settings in force, and their sources\n" +
			"  coffer completion bash > /etc/bash_completion.d/coffer",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddGroup(&cobra.Group{ID: groupServer, Title: "The server:"}, &cobra.Group{ID: groupAdmin, Title: "Administration:"},
		&cobra.Group{ID: groupAbout, Title: "About coffer:"})
	root.SetHelpCommandGroupID(groupAbout)
	root.SetCompletionCommandGroupID(groupAbout)
	root.AddCommand(serveCommand(), healthCommand(), configCommand(), doctorCommand())
	root.AddCommand(tokenCommand(), keysCommand(), auditCommand(), kmsCommand(), rotateCommand(), storeCommand())
	root.AddCommand(versionCommand(), manCommand())
	// A group has a RunE only to refuse unknown commands: its usage line shows no flags.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	root.InitDefaultCompletionCmd()
	refuseUnknownCommands(root)
	return root
}

// refuseUnknownCommands makes each group of commands fail for an unknown command, which a script would otherwise take for success.
func refuseUnknownCommands(group *cobra.Command) {
	for _, cmd := range group.Commands() {
		if cmd.HasSubCommands() {
			refuseUnknownCommands(cmd)
		}
	}
	group.DisableFlagsInUseLine = true
	group.SuggestionsMinimumDistance = 2
	group.Args = requireKnownCommand
	group.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// requireKnownCommand does not quote the arguments: one may be a token.
func requireKnownCommand(group *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	path := group.CommandPath()
	if near := group.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command of %s: did you mean %s %s?", path, path, strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command of %s: see %s --help", path, path)
}

// noArguments does not quote the arguments: one may be a token.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errors.New("this command takes no arguments, only flags; see --help")
	}
	return nil
}
