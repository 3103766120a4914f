package recovery

import (
	"cmp"
	"context"
	"slices"
)

// Returned returns, by tenant, what is alive in the store although it has ended: the store went back to an earlier state, an ending
// came to nothing, or it is under way. It returns an error if not all documents can be read.
func (r *Recovery) FindNotDestroyed(ctx context.Context, endings *Tombstones) (all []Destroyed, err error) {
	for d, err := range r.Keyring.Documents(ctx) {
		if err != nil {
			return nil, err
		}
		if _, ended := endings.of(d); ended.Shredded || ended.Keys > 0 {
			all = append(all, ended)
		}
	}
	slices.SortFunc(all, func(a, b Destroyed) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return all, nil
}
