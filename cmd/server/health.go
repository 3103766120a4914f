package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
)

// healthTimeout is longer than the server's own checks may take.
const healthTimeout = 5 * time.Second

func healthCommand() *cobra.Command {
	var live bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running server on this machine whether it is ready",
		Long: "Requests /readyz, or with --live /livez, of the server on --listen. The exit code is 0 if it is healthy, 1 if it is not, and 5 if no server\n" +
			"answers. This is for health checks of containers, which have no other HTTP client. Readiness needs the store and the keys, liveness only the process.",
		Example: "  coffer health\n  coffer health --live --listen 127.0.0.1:9000",
		GroupID: groupServer,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := config.Load(os.Environ(), cmd.Flags())
			if err != nil {
				return err
			}
			path := "/readyz"
			if live {
				path = "/livez"
			}
			if err := probe(cmd.Context(), "http://"+localAddress(c.Listen)+path); err != nil {
				return err
			}
			return printResult(cmd, struct {
				OK bool `json:"ok"`
			}{true}, func(out io.Writer) error {
				_, err := fmt.Fprintln(out, "ok")
				return err
			})
		},
	}
	config.AddFlags(cmd.Flags(), "listen")
	addJSONFlag(cmd)
	cmd.Flags().BoolVar(&live, "live", false, "check that the process answers, not that it can serve requests")
	return cmd
}

// localAddress returns the address at which this host reaches a server that listens on address.
func localAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	ip, _ := netip.ParseAddr(host)
	switch {
	case err != nil:
		return address
	case host == "" || ip == netip.IPv4Unspecified():
		return net.JoinHostPort("127.0.0.1", port)
	case ip == netip.IPv6Unspecified():
		return net.JoinHostPort("::1", port)
	}
	return address
}

func probe(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{}} // uses no proxy
	response, err := client.Do(request)
	if err != nil {
		return exitWith(exitUnreachable, fmt.Errorf("no server answers at %s", request.URL.Host))
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %d %s", response.StatusCode, response.Header.Get("Coffer-Code"))
	}
	return nil
}
