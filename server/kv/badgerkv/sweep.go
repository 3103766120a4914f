package badgerkv

import (
	"context"

	"github.com/coffer-storage/coffer/server/kv"
)

var _ kv.Sweeper = (*Store)(nil)

const onlyPart = "all"

// Topology implements kv.Sweeper: one part, since one process has the directory.
func (s *Store) Topology(ctx context.Context) (kv.Topology, error) {
	if err := s.Ping(ctx); err != nil {
		return kv.Topology{}, err
	}
	return kv.Topology{ID: "embedded", Parts: []string{onlyPart}, Stable: true}, nil
}

// SweepPage implements kv.Sweeper.
func (s *Store) SweepPage(ctx context.Context, part, prefix, cursor string, limit int) ([]string, string, error) {
	if part != onlyPart {
		return nil, "", errCursor
	}
	return s.Scan(ctx, prefix, cursor, limit)
}
