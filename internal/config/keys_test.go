package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/config"
)

func TestKeySettings(t *testing.T) {
	c, _, err := load(t, nil)
	require.NoError(t, err)
	day := 24 * time.Hour
	require.Equal(t, config.Keys{TTL: time.Hour, Tenants: 50_000, Calls: 32, RotateAge: 90 * day, Grace: day, Rate: 1000}, c.Keys)
	c, _, err = load(t, []string{"KEY_ROTATION_DAYS=0", "KEY_ROTATION_USES=5000", "COFFER_REENCRYPT_RATE=0"}, "--key-grace", "7d")
	require.NoError(t, err)
	require.Equal(t, config.Keys{TTL: time.Hour, Tenants: 50_000, Calls: 32, RotateUses: 5000, Grace: 7 * day}, c.Keys)
	c, _, err = load(t, []string{"REDIS_URL=redis://cache", "COFFER_KEYS_REDIS_URL=rediss://u:p@keys:6379/1", "COFFER_KEY_CACHE_USES=1000", "COFFER_KMS_CALLS=4"}, "--key-cache-ttl", "5m", "--key-cache-tenants", "10")
	require.NoError(t, err)
	require.Equal(t, config.Keys{Redis: "rediss://u:p@keys:6379/1", TTL: 5 * time.Minute, Uses: 1000, Tenants: 10, Calls: 4, RotateAge: 90 * day, Grace: day, Rate: 1000}, c.Keys)
	const planted = "pl4nted"
	for setting, variable := range map[string]string{
		"COFFER_KEYS_REDIS_URL=http://" + planted: "COFFER_KEYS_REDIS_URL", "COFFER_KEY_CACHE_TTL=" + planted: "COFFER_KEY_CACHE_TTL",
		"KEY_ROTATION_DAYS=" + planted: "KEY_ROTATION_DAYS", "KEY_ROTATION_USES=-1": "KEY_ROTATION_USES", "COFFER_KEY_GRACE=" + planted: "COFFER_KEY_GRACE",
		"COFFER_KEY_GRACE=-1s": "COFFER_KEY_GRACE", "COFFER_REENCRYPT_RATE=x": "COFFER_REENCRYPT_RATE",
		"COFFER_KEY_CACHE_TTL=1s": "COFFER_KEY_CACHE_TTL", "COFFER_KEY_CACHE_TTL=25h": "COFFER_KEY_CACHE_TTL", "COFFER_KEY_CACHE_USES=-1": "COFFER_KEY_CACHE_USES",
		"COFFER_KEY_CACHE_TENANTS=0": "COFFER_KEY_CACHE_TENANTS", "COFFER_KMS_CALLS=0": "COFFER_KMS_CALLS",
	} {
		t.Run(variable, func(t *testing.T) {
			_, _, err := load(t, []string{setting})
			require.ErrorContains(t, err, variable, setting)
			require.NotContains(t, err.Error(), planted)
		})
	}
	settings, _, err := config.Describe([]string{"REDIS_HOST=h", "COFFER_KEYS_REDIS_URL=redis://u:" + planted + "@h"}, nil)
	require.NoError(t, err)
	for _, s := range settings {
		require.NotContains(t, s.Value, planted)
	}
}

// A rotation looks at one cache, and destroys keys that no entry there needs.
func TestSharedKeysNeedASharedCache(t *testing.T) {
	const keys = "COFFER_KEYS_REDIS_URL=redis://u:pl4nted@keys"
	_, _, err := load(t, []string{keys})
	require.ErrorContains(t, err, "- COFFER_KEYS_REDIS_URL ")
	require.ErrorContains(t, err, "set REDIS_URL, REDIS_HOST, REDIS_SENTINEL_ADDRS or REDIS_CLUSTER_ADDRS")
	require.NotContains(t, err.Error(), "pl4nted")
	for _, cache := range []string{"REDIS_URL=redis://cache", "REDIS_HOST=cache", "REDIS_SENTINEL_ADDRS=s:1,REDIS_MASTER_NAME=m", "REDIS_CLUSTER_ADDRS=c:1"} {
		t.Run(cache, func(t *testing.T) {
			_, _, err := load(t, append(strings.Split(cache, ","), keys))
			require.NoError(t, err, cache)
		})
	}
}
