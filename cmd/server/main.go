// Command coffer is Coffer's server and its administration: an encrypted cache over HTTP, and a page that
// shows what it does.
//
//	coffer serve --listen 127.0.0.1:8080 --data DIR
//	coffer token create --data DIR
//
// On standard output it says what a person or a script is to read: the address and, once, the token. The log
// goes to standard error, as JSON.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	context.AfterFunc(ctx, stop)       // a second signal ends the process at once
	redis.SetLogger(redisLog{quiet()}) // errors of a call are returned as well
	root, out := command(), newOutput(os.Stdout)
	if cmd, _, err := root.Find(os.Args[1:]); err != nil || cmd.Name() != "serve" {
		context.AfterFunc(ctx, func() { time.AfterFunc(patience, giveUp) })
	} else {
		out.copyExactly() // the copy of the audit log
	}
	root.SetOut(out)
	root.SetErr(newOutput(os.Stderr))
	begun := noteBegin(root)
	executed, err := root.ExecuteContextC(ctx)
	if err == nil && executed.Name() != "serve" { // which goes on without a reader
		err, *begun = out.err(), true
	}
	var code exit
	if err != nil {
		code = exitOf(err, *begun)
		out.fail(executed, os.Args[1:], err, code)
		fmt.Fprintln(root.ErrOrStderr(), "coffer:", message(err))
	}
	if lines, ok := root.ErrOrStderr().(*logQueue); ok {
		_ = lines.Close()
	}
	os.Exit(int(code))
}

// noteBegin returns whether the RunE of any command has begun: cobra refuses a command line before.
func noteBegin(group *cobra.Command) *bool {
	begun := new(bool)
	var note func(*cobra.Command)
	note = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			note(sub)
		}
		if run := cmd.RunE; run != nil {
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				*begun = true
				return run(cmd, args)
			}
		}
	}
	note(group)
	return begun
}

// endSignals are the signals that end the process. SIGHUP is not one of them if nohup started it.
func endSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// patience is how long a command may take to end after a signal. What waits for a lock sees none.
const patience = 3 * time.Second

// giveUp ends a command where it is. Whatever is written is there as a whole or not at all.
func giveUp() {
	fmt.Fprintln(os.Stderr, "coffer: interrupted")
	os.Exit(int(exitFailed))
}

// The groups of commands in the help.
const (
	groupServer = "server"
	groupAdmin  = "admin"
	groupAbout  = "about"
)

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "coffer",
		Short: "Encrypted storage for sensitive data",
		Long: "Coffer keeps sensitive data encrypted wherever it rests.\n\n" +
			"Settings are environment variables and flags: `coffer serve --help` lists them, `coffer config` shows those in force.\n\n" + exitHelp,
		Example: "  coffer serve --data coffer-data            # the server; the first start prints a token\n" +
			"  coffer token create --data coffer-data     # another token\n" +
			"  coffer config                              # what is in force, and why\n" +
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
	// A group does nothing by itself, though it runs, to refuse what is none of its commands.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	root.InitDefaultCompletionCmd()
	refuseUnknown(root)
	return root
}

// refuseUnknown has each group of commands fail where it is given the name of none, which a script would take for done.
func refuseUnknown(group *cobra.Command) {
	for _, cmd := range group.Commands() {
		if cmd.HasSubCommands() {
			refuseUnknown(cmd)
		}
	}
	group.DisableFlagsInUseLine = true
	group.SuggestionsMinimumDistance = 2
	group.Args = knownCommand
	group.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// knownCommand does not quote what was given: a token may have been put there.
func knownCommand(group *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	path := group.CommandPath()
	if near := group.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command of %s: did you mean %s %s?", path, path, strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command of %s: see %s --help", path, path)
}

// noArguments refuses arguments without quoting them: a token may have been put there.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errors.New("this command takes no arguments, only flags; see --help")
	}
	return nil
}
