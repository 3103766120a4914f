package config

import (
	"log/slog"
	"strconv"
)

// levels are the names of the least important lines that the log has.
var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

func (l *loader) log(r *raw) (log Log) {
	level, ok := levels[r.LogLevel]
	if log.Level = level; !ok {
		l.refuse("COFFER_LOG_LEVEL", "must be debug, info, warn or error")
	}
	switch r.LogRequests {
	case "all":
		log.Requests = 1
	case "none":
	default:
		share, err := strconv.ParseFloat(r.LogRequests, 64)
		if log.Requests = share; err != nil || !(share >= 0 && share <= 1) { // nor NaN
			l.refuse("COFFER_LOG_REQUESTS", "must be all, none, or a share of the requests from 0 to 1, such as 0.01")
		}
	}
	return log
}
