package config

import (
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/shared/classify"
)

// kind is how the text of a setting is read.
type kind struct {
	secret bool
	// parse returns the problem of a text that is not empty, as the end of a sentence that begins with the setting's name. No problem
	// quotes the text. Nil if checks of several settings read the text by the setting's name.
	parse func(l *loader, s *setting, text string) (problem string)
}

var (
	byName       = kind{}
	secretByName = kind{secret: true}
)

// simple is a kind whose parse needs the text only.
func simple(parse func(text string) (problem string)) kind {
	return kind{parse: func(_ *loader, _ *setting, text string) string { return parse(text) }}
}

func plain[T ~string](to *T) kind {
	return simple(func(text string) string { *to = T(text); return "" })
}

func secret(to *Secret) kind { return kind{secret: true, parse: plain(to).parse} }

func list(to *[]string) kind {
	return simple(func(text string) string { *to = split(text); return "" })
}

// split reads values that are separated by commas.
func split(text string) (values []string) {
	for value := range strings.SplitSeq(text, ",") {
		if value = strings.TrimSpace(value); value != "" {
			values = append(values, value)
		}
	}
	return values
}

func boolean(to *bool) kind {
	return simple(func(text string) (problem string) {
		var err error
		if *to, err = strconv.ParseBool(text); err != nil {
			return "must be true or false"
		}
		return ""
	})
}

// negated is the opposite of a boolean.
func negated(to *bool) kind {
	var value bool
	read := boolean(&value)
	return simple(func(text string) string {
		problem := read.parse(nil, nil, text)
		*to = problem == "" && !value
		return problem
	})
}

// whole is an integer from least to most.
func whole[T int | int64 | uint32](to *T, least, most int) kind {
	return simple(func(text string) string {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			return "must be a whole number from " + strconv.Itoa(least) + " to " + strconv.Itoa(most)
		}
		*to = T(n)
		return ""
	})
}

// days is a duration that is given as a number of days.
func days(to *time.Duration, most int) kind {
	var n int
	read := whole(&n, 0, most)
	return simple(func(text string) string {
		problem := read.parse(nil, nil, text)
		*to = time.Duration(n) * duration.Day
		return problem
	})
}

// span is a duration from least to most, which limits describes.
func span(to *time.Duration, least, most time.Duration, limits string) kind {
	return simple(func(text string) string {
		d, err := duration.Parse(text)
		if err != nil || d < least || d > most {
			return "must be a duration " + limits
		}
		*to = d
		return ""
	})
}

func timeout(to *time.Duration) kind {
	return span(to, 1, duration.Day, "above 0 and up to 1d, such as 30s or 2m")
}

// or is a kind that also takes a word, which leaves the value as it is.
func or(word string, k kind) kind {
	return kind{parse: func(l *loader, s *setting, text string) string {
		if text == word {
			return ""
		}
		if problem := k.parse(l, s, text); problem != "" {
			return "must be " + word + ", or " + strings.TrimPrefix(problem, "must be ")
		}
		return ""
	}}
}

// choice is one of some words, each of which stands for a value.
func choice[T any](to *T, words []string, values []T) kind {
	return simple(func(text string) string {
		i := slices.Index(words, text)
		if i < 0 {
			last := len(words) - 1
			return "must be " + strings.Join(words[:last], ", ") + " or " + words[last]
		}
		*to = values[i]
		return ""
	})
}

func logLevel(to *slog.Level) kind {
	return choice(to, []string{"debug", "info", "warn", "error"}, []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError})
}

// requestShare is a share from 0 to 1, all or none.
func requestShare(to *float64) kind {
	return simple(func(text string) string {
		switch text {
		case "all":
			*to = 1
			return ""
		case "none":
			*to = 0
			return ""
		}
		share, err := strconv.ParseFloat(text, 64)
		if err != nil || !(share >= 0 && share <= 1) { // NaN is not
			return "must be all, none, or a share of the requests from 0 to 1, such as 0.01"
		}
		*to = share
		return ""
	})
}

// checked is a text that valid accepts.
func checked(to *string, valid func(text string) bool, problem string) kind {
	return simple(func(text string) string {
		if *to = text; !valid(text) {
			return problem
		}
		return ""
	})
}

// checkedList is values separated by commas, each of which valid accepts.
func checkedList(to *[]string, valid func(value string) bool, problem string) kind {
	return simple(func(text string) string {
		*to = split(text)
		if slices.ContainsFunc(*to, func(value string) bool { return !valid(value) }) {
			return problem
		}
		return ""
	})
}

func isListenAddress(text string) bool {
	_, port, err := net.SplitHostPort(text)
	_, portErr := strconv.ParseUint(port, 10, 16)
	return err == nil && portErr == nil
}

func isServerAddress(text string) bool {
	host, port, err := net.SplitHostPort(text)
	n, portErr := strconv.ParseUint(port, 10, 16)
	return err == nil && portErr == nil && n > 0 && host != "" && isHost(host)
}

func isHost(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil || !strings.ContainsAny(text, " \t\r\n/:@?#[]\x00")
}

func isPath(text string) bool { return !strings.ContainsRune(text, 0) }

var environmentLabel = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// iterations raises a number that is too low: a passphrase is only as strong as its cheapest derivation.
func iterations(to *uint32) kind {
	read := whole(to, 1, classify.MaxIterations)
	return kind{parse: func(l *loader, s *setting, text string) string {
		problem := read.parse(l, s, text)
		if problem == "" && *to < classify.MinWriteIterations {
			l.warn("%s is below the minimum for new keys: raised to %d", l.source(s.name), classify.MinWriteIterations)
			*to = classify.MinWriteIterations
		}
		return problem
	}}
}

// algorithm accepts the spellings of AES-256-GCM.
func algorithm() kind {
	return simple(func(text string) string {
		switch strings.NewReplacer("-", "", "_", "").Replace(strings.ToUpper(text)) {
		case "AES256GCM", "AESGCM":
			return ""
		}
		return "must be AES-256-GCM: the package format has no other algorithm for values"
	})
}

// classTTL is the longest time in the cache of a class. It warns about a time that is longer than the class's rule, because it may have
// the wrong unit.
func classTTL(to map[classify.Class]time.Duration, class classify.Class) kind {
	return kind{parse: func(l *loader, s *setting, text string) string {
		if class == classify.Public && text == "none" {
			to[class] = 0
			return ""
		}
		d, err := duration.Parse(text)
		if err != nil || d < time.Second || d > maxTTL {
			return "must be a duration from 1s to 3650d, such as 12h or 7d; for public also none"
		}
		if rule := time.Duration(class.Rules().MaxTTL) * time.Second; rule > 0 && d > rule {
			l.warn("%s is longer than the %s that the class is meant for", s.name, duration.Format(rule))
		}
		to[class] = d
		return ""
	}}
}

// defaultPorts are the ports that browsers leave out of an origin.
var defaultPorts = map[string]string{"https": "443", "http": "80"}

// isOrigin reports whether a text is an origin as browsers send it (RFC 6454 section 6.2).
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || strings.Contains(u.Host, "*") {
		return false
	}
	port, ok := defaultPorts[u.Scheme]
	if !ok || u.Port() == port || strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII }) {
		return false
	}
	return text == strings.ToLower(u.Scheme+"://"+u.Host)
}

// proxies are networks of proxies. It warns about networks that are a large share of all addresses.
func proxies(to *[]netip.Prefix) kind {
	return kind{parse: func(l *loader, s *setting, text string) string {
		for _, value := range split(text) {
			p, err := netip.ParsePrefix(value)
			if address, e := netip.ParseAddr(value); e == nil {
				p, err = address.Prefix(address.BitLen())
			}
			if err != nil {
				return "must be addresses or networks such as 10.0.0.0/8, separated by commas"
			}
			*to = append(*to, p)
		}
		if share := addressShare(*to); share >= largeShare {
			trusted := "every address"
			if share < 1 {
				trusted = "a 64th of all addresses, or more"
			}
			l.warn("%s trusts %s: any client there can choose the address that is recorded and limited for it; name the proxies' networks",
				l.source(s.name), trusted)
		}
		return ""
	}}
}

// largeShare is the share of all addresses at which trusted proxies are warned about. All private networks together are less: those of
// IPv4 are a 110th, fc00::/7 is a 128th.
const largeShare = 1.0 / 64

// addressShare returns the share of all IPv4 or of all IPv6 addresses that is in the networks, whichever is larger. Addresses that are
// in several networks count several times.
func addressShare(networks []netip.Prefix) float64 {
	var v4, v6 float64
	for _, p := range networks {
		if share := math.Ldexp(1, -p.Bits()); p.Addr().Is4() {
			v4 += share
		} else {
			v6 += share
		}
	}
	return max(v4, v6)
}
