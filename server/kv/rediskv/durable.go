package rediskv

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// ErrNotDurable says that a Redis may forget what it answered that it wrote.
var ErrNotDurable = errors.New("rediskv: this Redis may lose what it was given: it needs appendonly yes, appendfsync always and maxmemory-policy noeviction")

// CheckDurable asks whether the server has each write on its disk before it answers, and evicts nothing. It
// returns ErrNotDurable where it does not, and another error where it does not tell: many that are run as a
// service refuse CONFIG.
func (s *Store) CheckDurable(ctx context.Context) error {
	client, ok := s.client.(*redis.Client)
	if !ok {
		return errors.New("rediskv: only a single server's persistence can be asked for")
	}
	for setting, want := range map[string]string{"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"} {
		got, err := client.ConfigGet(ctx, setting).Result()
		if err != nil {
			return mapError("config", err)
		}
		if got[setting] != want {
			return fmt.Errorf("%w (%s is %q)", ErrNotDurable, setting, got[setting])
		}
	}
	return nil
}
