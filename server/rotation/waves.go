package rotation

import (
	"cmp"
	"slices"
)

// A wave is the former keys that are due at once, and at the same stage: one scan is for all of them. Which
// ones they are follows from the record.

// stage is what the keys of the wave that is under way wait for.
func (r *Record) stage() State {
	switch r.State {
	case Disabling:
		return FirstScan
	case Destroying:
		return SecondScan
	}
	return r.State
}

// wave gives the keys that the scan which is under way, or is over, is for.
func (r *Record) wave() (keys []Key) {
	for _, f := range r.Former {
		if f.Stage == r.stage() && f.Due <= r.Next {
			keys = append(keys, f.Key)
		}
	}
	return keys
}

// await has the record wait for the former key that is due first, or end where there is none left. The counts
// stay to be seen.
func (r *Record) await(now int64) {
	if r.State != Reencrypting {
		r.Done += r.Counts.Reencrypted
		r.Counts.Reencrypted = 0
	}
	if r.Cursor = nil; len(r.Former) == 0 {
		r.State, r.Ended = Done, now
		return
	}
	first := slices.MinFunc(r.Former, func(a, b Former) int { return cmp.Compare(a.Due, b.Due) })
	r.State, r.Next = first.Stage, first.Due
	r.Compromised = slices.ContainsFunc(r.Former, func(f Former) bool { return f.Compromised })
}

// resealed gives the keys that were given up since the last time all entries were sealed anew the times at
// which they are due.
func (r *Record) resealed(compromised, others int64) {
	due := func(c bool) int64 {
		if c {
			return compromised
		}
		return others
	}
	for i := range r.Former {
		if f := &r.Former[i]; f.Stage == Idle {
			f.Stage, f.Due = Grace, due(f.Compromised)
		}
	}
	for i := range r.Keysets {
		if k := &r.Keysets[i]; k.Due == 0 {
			k.Due = due(k.Compromised)
		}
	}
}

// begin has the entries gone through for the first time for all keys whose grace is over.
func (r *Record) begin(now int64) {
	for i := range r.Former {
		if f := &r.Former[i]; f.Stage == Grace && f.Due <= now {
			f.Stage = FirstScan
		}
	}
	r.Done += r.Counts.Reencrypted
	r.State, r.Next, r.Cursor, r.Counts, r.Failures, r.Found = FirstScan, now, nil, Counts{}, nil, nil
}

// scanned has the keys that something was found under wait for another scan, and reports whether there are others.
func (r *Record) scanned(again int64) bool {
	for _, key := range r.wave() {
		if slices.Contains(r.Found, key) {
			r.Former[r.index(key)].Due = again
		}
	}
	return len(r.wave()) > 0
}

// disabled has the keys of a wave wait for their second scan. There is no way back to them, nor to what was
// rotated with them.
func (r *Record) disabled(wave []Key, due int64) {
	for _, key := range wave {
		if i := r.index(key); i >= 0 {
			r.Former[i].Stage, r.Former[i].Due = SecondScan, due
		}
	}
	for i := range r.Keysets {
		k := &r.Keysets[i]
		found := r.index(Key{k.Class, k.From})
		k.Final = k.Final || k.Due != 0 && k.Due <= r.Next && (found < 0 || r.Former[found].Stage == SecondScan)
	}
}

func (r *Record) index(key Key) int {
	return slices.IndexFunc(r.Former, func(f Former) bool { return f.Key == key })
}

// Reversible reports whether a former primary can, or can still, be made the primary again. It cannot while a
// compromised key is being retired.
func (r *Record) Reversible(k *Keyset) bool { return r.Active() && !r.Compromised && !k.Final }

// ways gives what a rollback does: each keyset goes back to the first of the primaries that it can go back
// to, from its last one.
func (r *Record) ways() (all []Keyset) {
	for _, k := range r.Keysets {
		if k.Final {
			continue
		}
		i := slices.IndexFunc(all, func(other Keyset) bool { return other.Use == k.Use && other.Class == k.Class })
		switch {
		case i < 0:
			all = append(all, k)
		case all[i].Epoch+1 == k.Epoch:
			all[i].Epoch = k.Epoch
		default: // it was rotated otherwise in between, which stays
			all[i] = k
		}
	}
	return all
}
