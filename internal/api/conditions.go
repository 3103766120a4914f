package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/server/cache"
)

const (
	maxCondition  = 4096
	packageSuffix = "-package" // of the ETag of the package itself: it is another representation (RFC 9110 section 8.8.3)
)

var errTags = invalid(`If-Match and If-None-Match take ETags such as "nJ2bJ_PbZG0jEUC9", or *`)

// etag writes an entry's tag as the header has it.
func etag(tag string, ofPackage bool) string {
	if ofPackage {
		tag += packageSuffix
	}
	return `"` + tag + `"`
}

// tags is what a condition's header lists.
type tags struct {
	given  bool
	any    bool
	strong []string
	weak   []string
}

// readTags reads If-Match or If-None-Match (RFC 9110 section 13.1).
func readTags(header http.Header, name string) (t tags, err error) {
	text := strings.Join(header.Values(name), ",")
	if t.given = len(header.Values(name)) > 0; !t.given {
		return t, nil
	}
	if t.any = strings.TrimSpace(text) == "*"; t.any {
		return t, nil
	}
	if len(text) > maxCondition {
		return t, errTags
	}
	for one := range strings.SplitSeq(text, ",") {
		one = strings.TrimSpace(one)
		opaque, weak := strings.CutPrefix(one, "W/")
		if len(opaque) < 2 || opaque[0] != '"' || opaque[len(opaque)-1] != '"' {
			return t, errTags
		}
		tag := strings.TrimSuffix(opaque[1:len(opaque)-1], packageSuffix)
		if weak {
			t.weak = append(t.weak, tag)
		} else {
			t.strong = append(t.strong, tag)
		}
	}
	return t, nil
}

// ifMatch reads If-Match as a condition. A weak tag never matches.
func ifMatch(header http.Header) (cache.Condition, error) {
	t, err := readTags(header, "If-Match")
	if err != nil || !t.given {
		return cache.Condition{}, err
	}
	if t.any {
		return cache.Condition{Present: true}, nil
	}
	return cache.Condition{Present: true, Tags: append([]string{}, t.strong...)}, nil
}

// changeCondition reads the condition of a change of what is there. Another than If-Match is refused, not
// ignored: it meant to prevent something.
func changeCondition(header http.Header) (cache.Condition, error) {
	if len(header.Values("If-None-Match")) > 0 {
		return cache.Condition{}, invalid("a deletion and a change of the ttl take If-Match alone")
	}
	return ifMatch(header)
}

// writeCondition reads the condition of a write: If-Match, or If-None-Match with * alone.
func writeCondition(header http.Header) (cache.Condition, error) {
	condition, err := ifMatch(header)
	none := header.Values("If-None-Match")
	if err != nil || len(none) == 0 {
		return condition, err
	}
	if len(none) > 1 || strings.TrimSpace(none[0]) != "*" || condition.Present {
		return condition, invalid("a write takes If-Match, or If-None-Match: *, but not both")
	}
	return cache.Condition{Absent: true}, nil
}

// reading is the conditions of a read.
type reading struct{ match, noneMatch tags }

func readConditions(header http.Header) (r reading, err error) {
	if r.match, err = readTags(header, "If-Match"); err != nil {
		return r, err
	}
	r.noneMatch, err = readTags(header, "If-None-Match")
	return r, err
}

// of decides about the entry that is there: the client has it already, or does not want it.
func (r *reading) of(tag string) (had bool, err error) {
	if r.match.given && !r.match.any && !slices.Contains(r.match.strong, tag) {
		return false, cache.ErrPrecondition
	}
	n := &r.noneMatch
	return n.any || slices.Contains(n.strong, tag) || slices.Contains(n.weak, tag), nil
}

// missing is the error of a read where there is nothing.
func (r *reading) missing(err error) error {
	if err == cache.ErrNotFound && r.match.given {
		return cache.ErrPrecondition
	}
	return err
}
