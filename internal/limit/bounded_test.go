package limit

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFailuresAreBounded(t *testing.T) {
	failures := NewFailures(0, nil)
	number := func(i int) netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(i))))
	}
	for i := range 3 * maxAddresses {
		_ = failures.RecordFailure(number(i))
		_ = failures.RecordFailure(number(0)) // an active address is not forgotten because of others
	}
	require.Equal(t, maxAddresses, failures.known.Len())
	require.Error(t, failures.RecordFailure(number(0)))
	require.Error(t, failures.RecordFailure(number(3*maxAddresses-1)))
	require.NoError(t, failures.RecordFailure(number(1)))
}

func TestTenantsAreBounded(t *testing.T) {
	tenants := NewTenants(Quota{Rate: 1, Burst: 1, Concurrent: 1}, nil)
	_, err := tenants.Begin("runs")
	require.NoError(t, err)
	for i := range 2 * maxTenants {
		end, err := tenants.Begin(fmt.Sprint(i))
		require.NoError(t, err)
		end()
	}
	require.Equal(t, maxTenants, tenants.idle.Len())
	require.Len(t, tenants.active, 1)
	_, err = tenants.Begin("runs")
	require.ErrorIs(t, err, ErrRateLimited, "a tenant with running requests is not forgotten")
}

func TestConcurrentFailures(t *testing.T) {
	failures := NewFailures(3, nil)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 100 {
				address := netip.AddrFrom4([4]byte{10, 0, byte(i % 4), byte(j % 8)})
				_ = failures.RecordFailure(address)
			}
		})
	}
	wg.Wait()
	require.Error(t, failures.RecordFailure(netip.AddrFrom4([4]byte{10, 0, 0, 0})))
}
