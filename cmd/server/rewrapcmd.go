package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/config"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/recovery"
	"github.com/coffer-storage/coffer/shared/classify"
)

func keysRewrapCommand() *cobra.Command {
	var to []string
	var dry, status, finish, roots bool
	cmd := &cobra.Command{
		Use:   "rewrap",
		Short: "Have every tenant's keys wrapped by another KEK, or by a new version of it",
		Long: "Has the root of every tenant's keys wrapped by another key encryption key (KEK); data stay as they are. The configured KEK is the former one:\n" +
			"servers go on under it, and under the new one once they were restarted with that configured.\n\n" +
			"  1. coffer keys rewrap --to URL             wraps every root again\n" +
			"  2. configure the new KEK and restart every server\n" +
			"  3. coffer keys rewrap --to URL             with the former KEK configured: for tenants that were made in between\n" +
			"  4. coffer keys rewrap --to URL --finish    has the new KEK unwrap every root, and only then retires the former slots\n" +
			"  5. coffer keys backup                      earlier backups are under the former KEK\n\n" +
			"The key of the audit log, which lies in the data directory, goes with them: where servers have several, run 1 and 4 with each of them.\n" +
			"After a rotation of the KEK in its KMS, give its own URL: then 2 and 3 fall away. A run that was broken off goes on where it was.\n" +
			"--new-roots replaces the roots themselves: a root that leaked opens no key that is made afterwards. Rotate with --compromised the keys that it opened.\n" +
			"A KEK for some classes is given as --to CLASS=URL, besides the general one. No other URLs than these and the configured ones are dialled.",
		Example: "  coffer keys rewrap --data DIR --to awskms:///alias/coffer?region=eu-central-1\n" +
			"  coffer keys rewrap --data DIR --to file:///etc/coffer/new.key --to phi=file:///etc/coffer/phi.key --dry-run\n" +
			"  coffer keys rewrap --data DIR --status",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if status {
				return operate(cmd, "", func(ctx context.Context, _ *operator, r *recovery.Recovery) error {
					return rewrapStatus(ctx, cmd.OutOrStdout(), r)
				})
			}
			if roots {
				return operate(cmd, "rewrap", func(ctx context.Context, _ *operator, r *recovery.Recovery) error {
					return replaceRoots(ctx, cmd.OutOrStdout(), r)
				})
			}
			return operate(cmd, "rewrap", func(ctx context.Context, o *operator, r *recovery.Recovery) error {
				keks, err := openTarget(ctx, o.config, to)
				if err != nil {
					return err
				}
				key, general := auditKeyPath(o.config), auditKEK{keks.All()[0], o.config.Environment}
				switch {
				case dry:
					return rewrapDry(ctx, cmd.OutOrStdout(), r, keks)
				case finish:
					if err := rewrapFinish(ctx, cmd.OutOrStdout(), r, keks); err != nil {
						return err
					}
					return audit.RetireKey(ctx, key, general)
				}
				if err := audit.RewrapKey(ctx, key, auditKEK{o.keys.keks.All()[0], o.config.Environment}, general); err != nil {
					return err
				}
				return rewrap(ctx, cmd.OutOrStdout(), r, keks)
			})
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	addReason(cmd)
	cmd.Flags().StringArrayVar(&to, "to", nil, "URL of the new KEK, or CLASS=URL for one of a class; given again for each")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be wrapped, and that the new KEK works")
	cmd.Flags().BoolVar(&status, "status", false, "only say which KEKs' slots open how many roots")
	cmd.Flags().BoolVar(&finish, "finish", false, "retire the former KEK's slots, if the new one opens every root of every tenant")
	cmd.Flags().BoolVar(&roots, "new-roots", false, "replace the root of every tenant's keys, under the configured KEK, because one may have leaked")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "status", "finish", "new-roots")
	cmd.MarkFlagsMutuallyExclusive("to", "status", "new-roots")
	cmd.MarkFlagsOneRequired("to", "status", "new-roots")
	return cmd
}

func replaceRoots(ctx context.Context, out io.Writer, r *recovery.Recovery) error {
	done, err := r.ReplaceRoots(ctx)
	if done != nil {
		fmt.Fprintf(out, "tenants: %d\nroots replaced: %d\n", done.Tenants, done.Roots)
		printFailures(out, done.Failures)
	}
	return err
}

// openTarget opens the KEKs that the command line names. It quotes none: one may be a key.
func openTarget(ctx context.Context, c *config.Config, urls []string) (keks kms.Set, err error) {
	byClass := map[classify.Class]kms.KEK{}
	for _, url := range urls {
		class := classify.Class(0)
		if name, rest, ok := strings.Cut(url, "="); ok {
			if c, err := classify.Parse(name); err == nil {
				class, url = c, rest
			}
		}
		if _, twice := byClass[class]; twice {
			return keks, errors.New("--to is given twice for the same keys")
		}
		if strings.HasPrefix(url, "base64key:") {
			return keks, errors.New("--to takes no key itself, for every user can read a command line: put it into a file of mode 0600 and give file:///PATH")
		}
		if err := c.KMS.Check(url); err != nil {
			return keks, fmt.Errorf("--to: %w", err)
		}
		if byClass[class], err = kms.Open(ctx, url, providers(c)...); err != nil {
			return keks, fmt.Errorf("--to: %w", err)
		}
	}
	general, ok := byClass[0]
	if !ok {
		return keks, errors.New("--to lacks the general KEK: give its URL without a class besides those of classes")
	}
	keks = kms.NewSet(general)
	for class, kek := range byClass {
		if class != 0 {
			keks = keks.With(class, kek)
		}
	}
	return keks, nil
}

func rewrap(ctx context.Context, out io.Writer, r *recovery.Recovery, to kms.Set) error {
	done, err := r.Rewrap(ctx, to)
	if done != nil {
		if done.Resumed {
			fmt.Fprintf(out, "resumed: begun %s\n", shown(time.UnixMilli(done.Begun), ""))
		}
		fmt.Fprintf(out, "tenants: %d\nroots wrapped: %d\n", done.Tenants, done.Wrapped)
		printFailures(out, done.Failures)
	}
	if err == nil {
		fmt.Fprintln(out, "next: restart every server with the new KEK configured, run this once more, then with --finish")
	}
	return err
}

func rewrapDry(ctx context.Context, out io.Writer, r *recovery.Recovery, to kms.Set) error {
	tenants, roots, err := r.Pending(ctx, to)
	if err == nil {
		fmt.Fprintf(out, "the new KEK wraps and unwraps\nwould be wrapped: %d roots of %d tenants\n", roots, tenants)
	}
	return err
}

func rewrapFinish(ctx context.Context, out io.Writer, r *recovery.Recovery, to kms.Set) error {
	finished, err := r.Finish(ctx, to)
	if finished != nil {
		fmt.Fprintf(out, "tenants: %d\nslots retired: %d\n", finished.Tenants, finished.Retired)
		printFailures(out, finished.Unproven)
	}
	if err == nil {
		fmt.Fprintln(out, "next: coffer keys backup, for earlier backups are under the former KEK; disable that in its KMS, and delete it when nothing fails")
	}
	return err
}

func rewrapStatus(ctx context.Context, out io.Writer, r *recovery.Recovery) error {
	w, roots, err := r.Status(ctx)
	if err != nil {
		return err
	}
	switch {
	case w == nil:
		fmt.Fprintln(out, "no rewrap is under way")
	case w.Complete:
		fmt.Fprintf(out, "a rewrap, begun %s, waits for --finish\n", shown(time.UnixMilli(w.Begun), ""))
	default:
		fmt.Fprintf(out, "a rewrap, begun %s, is under way or was broken off\n", shown(time.UnixMilli(w.Begun), ""))
	}
	for _, url := range slices.Sorted(maps.Keys(roots)) {
		fmt.Fprintf(out, "%s opens %d roots, %d of them alone\n", url, roots[url].All, roots[url].Only)
	}
	return nil
}
