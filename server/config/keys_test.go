package config_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/config"
)

func TestKeys(t *testing.T) {
	c, _, err := load(t, nil)
	require.NoError(t, err)
	require.Equal(t, config.Keys{TTL: time.Hour}, c.Keys)
	c, _, err = load(t, []string{"COFFER_KEYS_REDIS_URL=rediss://u:p@keys:6379/1", "COFFER_KEY_CACHE_USES=1000"}, "--key-cache-ttl", "5m")
	require.NoError(t, err)
	require.Equal(t, config.Keys{Redis: "rediss://u:p@keys:6379/1", TTL: 5 * time.Minute, Uses: 1000}, c.Keys)
	const planted = "pl4nted"
	for setting, variable := range map[string]string{
		"COFFER_KEYS_REDIS_URL=http://" + planted: "COFFER_KEYS_REDIS_URL", "COFFER_KEY_CACHE_TTL=" + planted: "COFFER_KEY_CACHE_TTL",
		"COFFER_KEY_CACHE_TTL=1s": "COFFER_KEY_CACHE_TTL", "COFFER_KEY_CACHE_TTL=25h": "COFFER_KEY_CACHE_TTL", "COFFER_KEY_CACHE_USES=-1": "COFFER_KEY_CACHE_USES",
	} {
		_, _, err := load(t, []string{setting})
		require.ErrorContains(t, err, variable, setting)
		require.NotContains(t, err.Error(), planted)
	}
	settings, _, err := config.Describe([]string{"COFFER_KEYS_REDIS_URL=redis://u:" + planted + "@h"}, nil)
	require.NoError(t, err)
	for _, s := range settings {
		require.NotContains(t, s.Value, planted)
	}
}
