package main

import (
	"io"
	"log/slog"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/mirror"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// copies is where the lines of the server's audit log go beside its file.
type copies struct {
	mirror *mirror.Mirror // nil: nowhere
	store  *rediskv.Store // its own connections: a copy takes none from requests
}

func openCopies(c *config.Config, out io.Writer, lost func(lines int), log *slog.Logger) (*copies, error) {
	switch c.Audit.Copy {
	case config.CopyStdout:
		return &copies{mirror: mirror.New(mirror.ToWriter(out), lost, log)}, nil
	case config.CopyRedis:
		store, err := c.Redis.Open()
		if err != nil {
			return nil, err
		}
		return &copies{mirror: mirror.New(mirror.ToRedis(store), lost, log), store: store}, nil
	}
	return &copies{}, nil
}

// copy is what the log gives its lines to; nil where they go nowhere.
func (c *copies) copy() func(lines []byte) {
	if c.mirror == nil {
		return nil
	}
	return c.mirror.Copy
}

func (c *copies) close() error {
	if c.mirror != nil {
		c.mirror.Close()
	}
	if c.store != nil {
		return c.store.Close()
	}
	return nil
}
