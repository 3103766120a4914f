// Command coffer is Coffer's server and its administration: an encrypted cache over HTTP, and a page that shows what it does.
//
//	coffer serve --listen 127.0.0.1:8080 --data DIR
//	coffer token create --data DIR
//
// On standard output it says what a person or a script is to read: the address and, once, the token. The log goes to standard
// error, as JSON.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "coffer:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "coffer",
		Short: "Encrypted storage for sensitive data",
		Long: "Coffer keeps sensitive data encrypted wherever it rests.\n\n" +
			"Every setting has an environment variable; flags win. Secrets have no flag:\n" +
			"  ENCRYPTION_MASTER_KEY  32 random bytes as base64 (openssl rand -base64 32), or a passphrase\n" +
			"  KDF_ITERATIONS         PBKDF2 iterations of a passphrase, at least 600000\n" +
			"  REDIS_URL              redis://user:password@host:port/database, or rediss:// for TLS\n" +
			"  REDIS_HOST, REDIS_PORT, REDIS_PASSWORD, REDIS_DB   instead of REDIS_URL\n" +
			"Without Redis the cache is kept in the data directory.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serveCommand(), tokenCommand(), configCommand(), versionCommand())
	return root
}

// noArguments refuses arguments without quoting them: a token may have been put there.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errors.New("this command takes no arguments, only flags; see --help")
	}
	return nil
}
