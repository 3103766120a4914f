package rediskv

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// ErrNotDurable reports that Redis may lose writes that it has acknowledged.
var ErrNotDurable = errors.New("rediskv: this Redis may lose acknowledged writes: set appendonly yes, appendfsync always and maxmemory-policy noeviction")

// CheckDurable checks that Redis syncs each write to its disk before it replies, and evicts nothing. It returns
// ErrNotDurable if the configuration does not ensure that, and another error if the configuration cannot be read: many
// Redis services refuse CONFIG. It only supports a client of a single server.
func (s *Store) CheckDurable(ctx context.Context) error {
	client, ok := s.client.(*redis.Client)
	if !ok {
		return errors.New("rediskv: persistence can only be checked on a single server")
	}
	for setting, want := range map[string]string{"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"} {
		got, err := client.ConfigGet(ctx, setting).Result()
		if err != nil {
			return MapError("config", err)
		}
		if got[setting] != want {
			return fmt.Errorf("%w (%s is %q)", ErrNotDurable, setting, got[setting])
		}
	}
	return nil
}
