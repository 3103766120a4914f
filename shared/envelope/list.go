package envelope

// These functions handle the sorted lists of a document. Those of package slices pass elements by value, which compiles to
// much more code if the elements are large.

// search returns the position of an element in a sorted list of n elements and true, or the position at which to insert it
// and false. order(i) is negative if element i precedes the element, and positive if it follows it.
func search(n int, order func(i int) int) (int, bool) {
	low, high := 0, n
	for low < high {
		if mid := (low + high) / 2; order(mid) < 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, low < n && order(low) == 0
}

// ascends reports whether each of n elements is less than the next. order(i, j) is negative if element i is less than
// element j.
func ascends(n int, order func(i, j int) int) bool {
	for i := 1; i < n; i++ {
		if order(i-1, i) >= 0 {
			return false
		}
	}
	return true
}

// insertAt returns a new list with one inserted at position i.
//
//go:noinline
func insertAt[T any](all []T, i int, one *T) []T {
	grown := make([]T, len(all)+1)
	copy(grown, all[:i])
	grown[i] = *one
	copy(grown[i+1:], all[i:])
	return grown
}

// removeIf returns a new list of the elements for which remove returns false. It returns the list itself if it removes
// nothing.
func removeIf[T any](all []T, remove func(*T) bool) []T {
	first := 0
	for first < len(all) && !remove(&all[first]) {
		first++
	}
	if first == len(all) {
		return all
	}
	kept := append([]T(nil), all[:first]...)
	for i := first + 1; i < len(all); i++ {
		if !remove(&all[i]) {
			kept = append(kept, all[i])
		}
	}
	return kept
}

// compare is bytes.Compare.
//
//go:noinline
func compare(a, b []byte) int {
	switch {
	case string(a) < string(b):
		return -1
	case string(a) > string(b):
		return 1
	}
	return 0
}
