package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommand is hidden: only `make man` and packagers need it.
func manCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:    "man",
		Short:  "Write the man pages into a directory",
		Hidden: true,
		Args:   noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := readBuild()
			header := doc.GenManHeader{Section: "1", Source: "coffer " + b.Version, Manual: "Coffer"}
			if date, err := time.Parse(time.RFC3339, b.Time); err == nil {
				header.Date = &date // of the commit, so that the same commit makes the same pages
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			return doc.GenManTree(root, &header, dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "build/man", "the directory")
	return cmd
}
