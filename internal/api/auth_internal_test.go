package api

import (
	"context"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The client is the last address that is not a trusted proxy, with or without a port.
func TestClientIsLastUntrustedAddress(t *testing.T) {
	trusted := trustedProxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, c := range map[string]struct {
		remote    string
		forwarded []string
		want      string
	}{
		"no proxy":            {"192.0.2.9:80", []string{"203.0.113.7"}, "192.0.2.9"},
		"IPv4 within IPv6":    {"[::ffff:192.0.2.9]:80", nil, "192.0.2.9"},
		"no header":           {"10.0.0.1:80", nil, "10.0.0.1"},
		"one":                 {"10.0.0.1:80", []string{"203.0.113.7"}, "203.0.113.7"},
		"IPv4 with a port":    {"10.0.0.1:80", []string{"203.0.113.7:1234"}, "203.0.113.7"},
		"IPv6 with a port":    {"10.0.0.1:80", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		"IPv6 in brackets":    {"10.0.0.1:80", []string{"[2001:db8::1]"}, "2001:db8::1"},
		"IPv6":                {"[fd00::1]:80", []string{"2001:db8::1"}, "2001:db8::1"},
		"a forged beginning":  {"10.0.0.1:80", []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		"two proxies":         {"10.0.0.1:80", []string{"198.51.100.1, 203.0.113.7:1, 10.9.9.9:2"}, "203.0.113.7"},
		"two lines":           {"10.0.0.1:80", []string{"198.51.100.1, 203.0.113.7", "10.9.9.9"}, "203.0.113.7"},
		"only proxies":        {"10.0.0.1:80", []string{"10.0.0.3,10.0.0.2"}, "10.0.0.3"},
		"not an address":      {"10.0.0.1:80", []string{"203.0.113.7, unknown"}, "10.0.0.1"},
		"no address in front": {"10.0.0.1:80", []string{"unknown, 10.0.0.2"}, "10.0.0.2"},
		"an empty entry":      {"10.0.0.1:80", []string{"203.0.113.7,"}, "10.0.0.1"},
		"a zone":              {"10.0.0.1:80", []string{"fe80::1%eth0"}, "fe80::1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forwarded}}
			require.Equal(t, c.want, trusted.client(r).String())
		})
	}
	require.False(t, trustedProxies{}.client(&http.Request{RemoteAddr: "@"}).IsValid())
}

// If maxDelayed requests are waiting, a further refused request is answered at once: a flood cannot fill the memory.
func TestRefusalDelayLimitsWaitingRequests(t *testing.T) {
	d := newRefusalDelay(time.Hour)
	for range maxDelayed {
		d.waiting <- struct{}{}
	}
	d.wait(context.Background(), context.Background())
}
