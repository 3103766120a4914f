package api

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoom(t *testing.T) {
	t.Parallel()
	c := &call{}
	for _, n := range []int{0, tiny - 1, small + roomAround + 1, 1 << 30} {
		require.Nil(t, c.room(n), n)
	}
	require.Empty(t, c.rooms)
	var all [][]byte
	for _, n := range []int{tiny, tiny + 1, small, small + roomAround} {
		room := c.room(n)
		require.Empty(t, room)
		require.GreaterOrEqual(t, cap(room), n)
		room = room[:cap(room)]
		require.Equal(t, make([]byte, len(room)), room, "nothing of another request is there")
		for i := range room {
			room[i] = byte(n)
		}
		all = append(all, room)
	}
	for i, n := range []int{tiny, tiny + 1, small, small + roomAround} {
		require.Equal(t, bytes.Repeat([]byte{byte(n)}, len(all[i])), all[i], "each is apart from the others")
	}
	c.leave(2)
	require.Len(t, c.rooms, 2)
	require.Equal(t, bytes.Repeat([]byte{1}, len(all[1])), all[1], "it is not given back yet")
	require.Equal(t, make([]byte, len(all[2])), all[2])
	c.leave(0)
	for _, room := range all {
		require.Equal(t, make([]byte, len(room)), room)
	}
	require.Empty(t, c.rooms)
}
