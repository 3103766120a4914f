package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/server/config"
	"github.com/coffer-storage/coffer/server/token"
)

func tokenFile(data string) *token.File { return token.Open(filepath.Join(data, "token.json")) }

func tokenCommand() *cobra.Command {
	group := &cobra.Command{Use: "token", Short: "Manage the API token"}
	create := &cobra.Command{
		Use:   "create",
		Short: "Replace the API token by a new one",
		Long: "Makes a new API token in place of the former one, which ends at once, and prints it.\n" +
			"It is not kept anywhere, only its hash. A running server takes the new token without a restart.",
		Args: noArguments,
		RunE: createToken,
	}
	config.AddFlags(create.Flags(), "data")
	group.AddCommand(create)
	return group
}

// createToken works in a directory that is there only: a token for a mistyped one would open nothing.
func createToken(cmd *cobra.Command, _ []string) error {
	c, _, err := config.Load(os.Environ(), cmd.Flags())
	if err != nil {
		return err
	}
	info, err := os.Stat(c.Data)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return fmt.Errorf("there is no data directory %s: give the one of the server with --data", c.Data)
	}
	if err != nil {
		return fmt.Errorf("the data directory cannot be read: %w", err)
	}
	made, err := tokenFile(c.Data).Create()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "token:", made)
	return err
}
