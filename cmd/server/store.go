package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
)

var (
	errStoreDamaged = errors.New("the embedded store is damaged: `coffer store repair` keeps what can be read")
	errStoreLost    = errors.New("there was damage, which is listed above; restore lost keysets with `coffer keys restore`")
)

func storeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "Check and repair the embedded databases of the cache and the keys", GroupID: groupAdmin}
	cmd.AddCommand(storeCheckCommand(), storeRepairCommand())
	return cmd
}

func storeCheckCommand() *cobra.Command {
	return databaseCommand(&cobra.Command{
		Use:   "check",
		Short: "Read the embedded databases, and report damage",
		Long: "Reads each entry of the cache and each document of the keys in the data directory, verifies their checksums, and compares the counted bytes of\n" +
			"tenants. It changes nothing. Stop the server first. The exit code is 0 if nothing is damaged.",
		Example: "  coffer store check --data DIR",
	}, sqlitekv.Check, sqlitekeys.Check, errStoreDamaged)
}

func storeRepairCommand() *cobra.Command {
	return databaseCommand(&cobra.Command{
		Use:   "repair",
		Short: "Copy what can be read into new databases",
		Long: "Copies each entry of the cache and each document of the keys that can be read into a new database. It replaces the former one, which is kept under\n" +
			"another name. The command names lost keysets. Stop the server first. If the database's log is damaged, the last changes are lost, including\n" +
			"deletions. The exit code is 0 if there was no damage.",
		Example: "  coffer store repair --data DIR\n  coffer keys restore --data DIR --in FILE   # restores lost keysets",
	}, sqlitekv.Repair, sqlitekeys.Repair, errStoreLost)
}

type (
	cacheAction func(ctx context.Context, dir string, progress sqlitekv.Progress) (sqlitefile.Report, error)
	keysAction  func(ctx context.Context, dir string) (sqlitefile.Report, error)
)

// databaseCommand returns a command that runs an action on each database, and returns the error damaged if one has damage.
func databaseCommand(cmd *cobra.Command, cache cacheAction, keys keysAction, damaged error) *cobra.Command {
	var asJSON bool
	cmd.Args = noArguments
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, _, err := config.Load(os.Environ(), cmd.Flags())
		if err != nil {
			return err
		}
		all, err := forEachDatabase(cmd, &c, cache, keys)
		if err != nil {
			return err
		}
		if err := printDatabases(cmd.OutOrStdout(), all, asJSON); err != nil {
			return err
		}
		for i := range all {
			if len(all[i].Damage) > 0 {
				return damaged
			}
		}
		return nil
	}
	config.AddFlags(cmd.Flags(), "data")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// forEachDatabase runs the actions on the databases that exist. The cache is first, because its lock shows a running server.
func forEachDatabase(cmd *cobra.Command, c *config.Config, cache cacheAction, keys keysAction) (all []sqlitefile.Report, err error) {
	if !exists(c.Data) {
		return nil, notFoundError(fmt.Errorf("there is no data directory %s: pass the server's data directory with --data", c.Data))
	}
	bar := newProgress(cmd.ErrOrStderr(), "entries")
	for _, do := range []func() (sqlitefile.Report, error){
		func() (sqlitefile.Report, error) { return cache(cmd.Context(), cacheDir(c), bar) },
		func() (sqlitefile.Report, error) { return keys(cmd.Context(), keysDir(c)) },
	} {
		found, err := do()
		switch {
		case errors.Is(err, sqlitekv.ErrInUse):
			return nil, refusedError(fmt.Errorf("a server, or another command, uses %s: stop it first", c.Data))
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return all, err
		default:
			all = append(all, found)
		}
	}
	return all, nil
}

func printDatabases(out io.Writer, all []sqlitefile.Report, asJSON bool) error {
	if asJSON {
		return printJSON(out, map[string]any{"files": all})
	}
	if len(all) == 0 {
		fmt.Fprintln(out, "there is no embedded database")
	}
	for i := range all {
		f := &all[i]
		state := "whole"
		if len(f.Damage) > 0 {
			state = "damaged"
		}
		fmt.Fprintf(out, "%s: %s, %d read, %d lost\n", f.File, state, f.Read, f.Lost)
		for _, damage := range f.Damage {
			fmt.Fprintln(out, "  damage:", damage)
		}
		for _, name := range f.Names {
			fmt.Fprintln(out, "  lost:", name)
		}
		if f.Damaged != "" {
			fmt.Fprintln(out, "  the former file:", filepath.Join(filepath.Dir(f.File), f.Damaged))
		}
	}
	return nil
}
