package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProgressIsDrawnOnTerminalsOnly(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	draw := newProgressBar(&out, "rewrap")
	for done := 1; done <= 1000; done++ {
		draw(done, 1000)
	}
	shown := strings.Split(out.String(), "\r")
	require.Less(t, len(shown), 100, "not for every tenant")
	require.Equal(t, "rewrap [##############################] 1000 of 1000\n", shown[len(shown)-1])
	require.Equal(t, 1, strings.Count(out.String(), "\n"))

	file, err := os.Create(t.TempDir() + "/log")
	require.NoError(t, err)
	defer file.Close()
	require.Nil(t, newProgress(file, "rewrap"))
	require.Nil(t, newProgress(&out, "rewrap"))
}
