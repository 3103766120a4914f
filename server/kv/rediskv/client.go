package rediskv

import "github.com/redis/go-redis/v9"

// Client returns the store's client, for other uses of the same Redis. It ends with the store.
func (s *Store) Client() redis.UniversalClient { return s.client }

// Failure maps an error of go-redis to one of package kv. It never wraps the original, which can quote values.
func MapError(op string, err error) error { return mapError(op, err) }
