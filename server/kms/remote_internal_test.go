package kms

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// late is a context whose own clock has not told it yet that its deadline is over.
type late struct{ context.Context }

func (late) Deadline() (time.Time, bool) { return time.Now(), true }

func TestOver(t *testing.T) {
	require.True(t, over(late{t.Context()}))
	require.False(t, over(t.Context()))
	soon, cancel := context.WithTimeout(t.Context(), time.Hour)
	require.False(t, over(soon))
	cancel()
	require.True(t, over(soon))
}
