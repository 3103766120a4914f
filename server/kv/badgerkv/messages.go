package badgerkv

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// messages gives badger's log to slog. Its warnings are advice on tuning, so they are for debugging too.
type messages struct{ logger *slog.Logger }

func (m messages) Errorf(format string, args ...any)   { m.log(slog.LevelError, format, args) }
func (m messages) Warningf(format string, args ...any) { m.log(slog.LevelDebug, format, args) }
func (m messages) Infof(format string, args ...any)    { m.log(slog.LevelDebug, format, args) }
func (m messages) Debugf(format string, args ...any)   { m.log(slog.LevelDebug, format, args) }

func (m messages) log(level slog.Level, format string, args []any) {
	if !m.logger.Enabled(context.Background(), level) {
		return
	}
	m.logger.Log(context.Background(), level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
}
