package api

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/labstack/echo/v4"
)

// proxies are the networks whose X-Forwarded-For is believed.
type proxies []netip.Prefix

// client returns the address that a request comes from: the other end of the connection or, if that is a trusted proxy, the
// last address in X-Forwarded-For that is not one. An entry that is not an address ends the search, because a client can
// have sent it and everything before it; the proxy's own address is the result then.
func (p proxies) client(r *http.Request) netip.Addr {
	found, ok := parseAddress(r.RemoteAddr)
	if !ok || !p.trust(found) {
		return found
	}
	lines := r.Header[echo.HeaderXForwardedFor]
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			entry := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, entry = rest[:comma], rest[comma+1:]
			} else {
				more = false
			}
			address, ok := parseAddress(strings.TrimSpace(entry))
			if !ok {
				return found
			}
			if found = address; !p.trust(found) {
				return found
			}
		}
	}
	return found
}

func (p proxies) trust(address netip.Addr) bool {
	for _, network := range p {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// parseAddress reads an address with or without a port: 203.0.113.7, 203.0.113.7:1234, 2001:db8::1, [2001:db8::1] or
// [2001:db8::1]:443.
func parseAddress(text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(text)
	if err != nil {
		var port netip.AddrPort
		port, err = netip.ParseAddrPort(text)
		address = port.Addr()
	}
	if inner, found := strings.CutPrefix(text, "["); err != nil && found {
		if inner, found = strings.CutSuffix(inner, "]"); found {
			address, err = netip.ParseAddr(inner)
		}
	}
	return address.Unmap().WithZone(""), err == nil
}
