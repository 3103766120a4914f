package kms_test

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
)

func TestSetIsImmutable(t *testing.T) {
	general := open(t, "base64key://"+text)
	phi := open(t, "base64key://"+base64.StdEncoding.EncodeToString(otherKey))
	one := kms.NewSet(general)
	two := one.With(classify.PHI, phi)
	for _, class := range classify.All {
		require.Same(t, general, one.For(class), "a set is immutable")
		if class == classify.PHI {
			require.Same(t, phi, two.For(class))
		} else {
			require.Same(t, general, two.For(class))
		}
	}
	require.Equal(t, []kms.KEK{general, phi}, two.All())
	swapped := two.Map(func(kms.KEK) kms.KEK { return general })
	require.Same(t, general, swapped.For(classify.PHI))
	require.Same(t, phi, two.For(classify.PHI))
}
