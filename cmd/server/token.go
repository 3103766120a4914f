package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/token"
)

func tokenCommand() *cobra.Command {
	group := &cobra.Command{
		Use:     "token",
		GroupID: groupAdmin,
		Short:   "Create, list and revoke API tokens",
		Long: "Creates, lists and revokes the tokens that clients send as Authorization: Bearer. The keystore has them, authenticated under a key of the\n" +
			"environment, so the commands need the server's KEK. Every server that shares the keystore sees a change within three seconds; create and\n" +
			"revoke return after that.",
	}
	group.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return group
}

func tokenCreateCommand() *cobra.Command {
	var name, tenant, scopes, expires string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create an API token and print it",
		Long: "Creates an API token and prints it. Only its hash is stored: if a token is lost, revoke it and create another one.\n" +
			"Scopes: " + strings.Join(identity.AllScopes.Names(), ", ") + "; all means all of them.",
		Example: "  coffer token create --data DIR --name billing --tenant clinic --scopes cache:read,cache:write --expires 90d",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			grant, err := parseGrant(name, tenant, scopes, expires)
			if err == nil {
				err = grant.Check()
			}
			if err != nil {
				return usageError(err)
			}
			return createToken(cmd, grant)
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	cmd.Flags().StringVar(&name, "name", "", "purpose of the token, shown by coffer token list")
	cmd.Flags().StringVar(&tenant, "tenant", identity.DefaultTenant, "tenant whose data it opens; * means every tenant, for an operator's token with the scopes keys:admin, audit:read and metrics:read")
	cmd.Flags().StringVar(&scopes, "scopes", "cache:read,cache:write", "scopes of the token, separated by commas")
	cmd.Flags().StringVar(&expires, "expires", "never", "lifetime, such as 12h or 90d")
	addJSONFlag(cmd)
	return cmd
}

// parseGrant does not quote the flags: one may be a token.
func parseGrant(name, tenant, scopes, expires string) (g token.Grant, err error) {
	g = token.Grant{Name: name, Tenant: tenant, Scopes: identity.AllScopes}
	if scopes != "all" {
		if g.Scopes, err = identity.ParseScopes(strings.Split(scopes, ",")); err != nil {
			return g, fmt.Errorf("--scopes: %w", err)
		}
	}
	if expires != "never" {
		if g.Lifetime, err = parseLifetime(expires); err != nil {
			return g, err
		}
	}
	return g, nil
}

const maxLifetime = 36500 * 24 * time.Hour

func parseLifetime(text string) (time.Duration, error) {
	d, err := duration.Parse(text)
	if err != nil || d < time.Second || d > maxLifetime {
		return 0, errors.New("--expires takes never, or a duration from 1s to 36500d, such as 12h or 90d")
	}
	return d, nil
}

func createToken(cmd *cobra.Command, grant token.Grant) error {
	var text string
	var made token.Token
	err := changeTokens(cmd, func(tokens *token.Registry, log token.Audit) (err error) {
		text, made, err = tokens.Issue(cmd.Context(), grant, log)
		return err
	})
	if err != nil {
		return err
	}
	err = printResult(cmd, struct {
		Token string `json:"token"`
		listedToken
	}{text, toListedTokens([]token.Token{made})[0]}, func(out io.Writer) error {
		fmt.Fprintf(cmd.ErrOrStderr(), "id %s, tenant %s, scopes %s, expires %s\n", made.ID, strconv.Quote(made.Tenant), made.Scopes, formatTime(made.ExpiresAt, "never"))
		_, err := fmt.Fprintln(out, "token:", text)
		return err
	})
	waitForServers(cmd.Context())
	return err
}

// changeTokens calls change with the tokens and the audit log of the server, which may be running.
func changeTokens(cmd *cobra.Command, change func(*token.Registry, token.Audit) error) (err error) {
	o, err := openOperatorKeys(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	if err := o.openLog(cmd.Context()); err != nil {
		return err
	}
	return change(token.NewRegistry(o.keys.store, o.keys.system), token.Audit{Recorder: o.audit, Operation: operationName(cmd)})
}

// waitForServers returns when running servers see a change of tokens, so that the next command of a script can depend on it.
func waitForServers(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(token.PropagationTime):
	}
}

func tokenListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the API tokens",
		Long: "Lists the ids, tenants and scopes of the tokens. The tokens themselves are not stored. Revoked tokens are not listed; expired ones are, until a\n" +
			"server deletes them. A token whose document in the keystore was altered is not valid: revoke it. LAST USED is the hour of the last use, in\n" +
			"UTC, up to two minutes late; it is not authenticated.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tokens, err := listTokens(cmd)
			if len(tokens) == 0 && err != nil {
				return err
			}
			if asJSON {
				return errors.Join(printJSON(cmd.OutOrStdout(), toListedTokens(tokens)), err)
			}
			return errors.Join(printTokens(cmd.OutOrStdout(), tokens), err)
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the tokens as JSON")
	return cmd
}

// listTokens reads the tokens. It creates no keys.
func listTokens(cmd *cobra.Command) (tokens []token.Token, err error) {
	o, err := openOperatorKeys(cmd)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	system, err := o.keys.ring.FindSystem(cmd.Context())
	if err != nil {
		return nil, o.keys.explain(err, o.config)
	}
	return token.NewRegistry(o.keys.store, system).List(cmd.Context())
}

// listedToken is a token in JSON. A zero time is left out.
type listedToken struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Tenant     string    `json:"tenant"`
	Scopes     []string  `json:"scopes"`
	CreatedAt  time.Time `json:"createdAt,omitzero"`
	ExpiresAt  time.Time `json:"expiresAt,omitzero"`
	Expired    bool      `json:"expired"`
	Altered    bool      `json:"altered"`
	LastUsedAt time.Time `json:"lastUsedAt,omitzero"`
}

func toListedTokens(tokens []token.Token) []listedToken {
	list := []listedToken{}
	for _, t := range tokens {
		list = append(list, listedToken{
			t.ID, t.Name, t.Tenant, t.Scopes.Names(), t.CreatedAt, t.ExpiresAt, t.Expired(time.Now()), t.Altered, t.LastUsedAt,
		})
	}
	return list
}

func printTokens(out io.Writer, tokens []token.Token) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tTENANT\tSCOPES\tCREATED\tEXPIRES\tLAST USED")
	for _, t := range tokens {
		if t.Altered {
			fmt.Fprintf(table, "%s\t\t\t\t\taltered\t\n", quoteTokenID(t.ID))
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, strconv.Quote(t.Name), strconv.Quote(t.Tenant),
			strings.Join(t.Scopes.Names(), ","), formatTime(t.CreatedAt, ""), formatExpiry(t), formatLastUse(t))
	}
	return table.Flush()
}

// quoteTokenID returns the name of a document, quoted if it has other characters than an id: a writer to the keystore can choose any name.
func quoteTokenID(name string) string {
	if strings.Trim(name, "0123456789abcdef") == "" && name != "" {
		return name
	}
	return strconv.QuoteToASCII(name)
}

func formatExpiry(t token.Token) string {
	if t.Expired(time.Now()) {
		return "expired"
	}
	return formatTime(t.ExpiresAt, "never")
}

// formatLastUse returns the hour of the last use. The minute is not recorded.
func formatLastUse(t token.Token) string {
	if t.LastUsedAt.IsZero() {
		return "not yet"
	}
	return t.LastUsedAt.UTC().Format("2006-01-02T15Z")
}

func tokenRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke an API token",
		Long: "Revokes the token with this id, as coffer token list shows it. Every running server refuses it within three seconds. A tombstone remains, so\n" +
			"that a document that is put back is detected.",
		Example: "  coffer token revoke --data DIR 0123456789abcdef",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("give the id of one token, as `coffer token list` shows it")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			err := changeTokens(cmd, func(tokens *token.Registry, log token.Audit) error {
				_, err := tokens.Revoke(cmd.Context(), args[0], log)
				if err == nil {
					waitForServers(cmd.Context())
				}
				return err
			})
			if err != nil || !wantsJSON(cmd) {
				return err
			}
			return printJSON(cmd.OutOrStdout(), struct {
				ID      string `json:"id"`
				Revoked bool   `json:"revoked"`
			}{args[0], true})
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	addJSONFlag(cmd)
	return cmd
}
