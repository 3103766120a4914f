package audit

import (
	"context"
	"errors"
	"io"
)

// countBreaks goes over a log that has a fault once more, beyond it.
func countBreaks(ctx context.Context, path string, key *Key) (all []Breaks, err error) {
	s, err := openSource(path, key, nil)
	if err != nil {
		return nil, err
	}
	defer s.close()
	add := func(file string) {
		if len(all) == 0 || all[len(all)-1].File != file {
			all = append(all, Breaks{File: file})
		}
		all[len(all)-1].Count++
	}
	for w := (walk{chain: key.newChain(), at: s.head.From}); ; {
		p, err := s.next(ctx)
		if errors.Is(err, io.EOF) {
			if w.rest.other || s.headErr == nil && w.at.Seq < s.head.Seq {
				add(s.name)
			}
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if !w.take(p) {
			l, _ := parseLink(p.line())
			add(s.name)
			w.at, w.rest = l.Anchor, rest{}
		}
	}
}
