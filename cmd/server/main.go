// Command coffer is Coffer's server and its administration: an encrypted cache over HTTP, and a page that
// shows what it does.
//
//	coffer serve --listen 127.0.0.1:8080 --data DIR
//	coffer token create --data DIR
//
// Standard output has the results for a person or a script, such as the server's address and, once, its first token. The server's log is
// JSON on standard error.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	context.AfterFunc(ctx, stop)            // a second signal ends the process at once
	redis.SetLogger(redisLog{discardLog()}) // the errors of calls are returned as well
	root, out := rootCommand(), newOutput(os.Stdout)
	if cmd, _, err := root.Find(os.Args[1:]); err != nil || cmd.Name() != "serve" {
		context.AfterFunc(ctx, func() { time.AfterFunc(exitDelay, exitInterrupted) })
	} else {
		out.copyExactly() // for the copy of the audit log
	}
	root.SetOut(out)
	root.SetErr(newOutput(os.Stderr))
	begun := trackRun(root)
	executed, err := root.ExecuteContextC(ctx)
	if err == nil && executed.Name() != "serve" { // a server keeps serving without a reader
		err, *begun = out.err(), true
	}
	var code exit
	if err != nil {
		code = exitOf(err, *begun)
		out.fail(executed, os.Args[1:], err, code)
		fmt.Fprintln(root.ErrOrStderr(), "coffer:", errorText(err))
	}
	if lines, ok := root.ErrOrStderr().(*logQueue); ok {
		_ = lines.Close()
	}
	os.Exit(int(code))
}

// trackRun returns a flag that is set when the RunE of any command starts. Until then, cobra may refuse the command line.
func trackRun(group *cobra.Command) *bool {
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

// exitDelay is how long a command may take to end after a signal. A command that waits for a lock does not see the signal.
const exitDelay = 3 * time.Second

// exitInterrupted ends the process. Every file is written as a whole or not at all.
func exitInterrupted() {
	fmt.Fprintln(os.Stderr, "coffer: interrupted")
	os.Exit(int(exitFailed))
}
