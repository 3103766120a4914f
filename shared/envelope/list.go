package envelope

// Lists are sorted. Package slices' functions take and return elements by value, which makes much code of large ones.

// search returns the position of an element in a sorted list of n, or the one at which to insert it. The sign of order(i) tells on
// which side of it element i is.
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

// ascends reports whether each of n elements is less than the next one.
func ascends(n int, order func(i, j int) int) bool {
	for i := 1; i < n; i++ {
		if order(i-1, i) >= 0 {
			return false
		}
	}
	return true
}

// inserted returns a new list that has one more element.
//
//go:noinline
func insertAt[T any](all []T, i int, one *T) []T {
	grown := make([]T, len(all)+1)
	copy(grown, all[:i])
	grown[i] = *one
	copy(grown[i+1:], all[i:])
	return grown
}

// without returns a new list of the elements that are not to go, or the list itself if all stay.
func removeIf[T any](all []T, gone func(*T) bool) []T {
	first := 0
	for first < len(all) && !gone(&all[first]) {
		first++
	}
	if first == len(all) {
		return all
	}
	kept := append([]T(nil), all[:first]...)
	for i := first + 1; i < len(all); i++ {
		if !gone(&all[i]) {
			kept = append(kept, all[i])
		}
	}
	return kept
}

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
