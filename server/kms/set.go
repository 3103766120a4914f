package kms

import (
	"slices"

	"github.com/coffer-storage/coffer/shared/classify"
)

// Set is the KEKs of a deployment: a general one, and possibly others for some classes. A Set is immutable. The zero
// Set is empty.
type Set struct {
	keks  []KEK                 // the first is the general one
	class [classify.PHI + 1]int // indices in keks
}

// NewSet returns a set with one KEK for all classes.
func NewSet(general KEK) Set { return Set{keks: []KEK{general}} }

// With returns a set in which new keys of the class are wrapped by another KEK.
func (s Set) With(class classify.Class, kek KEK) Set {
	s.keks = append(slices.Clone(s.keks), kek)
	s.class[class] = len(s.keks) - 1
	return s
}

// WithFormer returns a set with a KEK that unwraps keys of a former configuration, but wraps no new key.
func (s Set) WithFormer(former KEK) Set {
	s.keks = append(slices.Clone(s.keks), former)
	return s
}

// For returns the KEK that wraps new keys of a class.
func (s Set) For(class classify.Class) KEK { return s.keks[s.class[class]] }

// All returns all KEKs of the set, the general one first. The caller must not change the slice.
func (s Set) All() []KEK { return s.keks }

// Map returns a set in which each KEK is replaced by f of it, for instance by one that counts calls.
func (s Set) Map(f func(KEK) KEK) Set {
	s.keks = slices.Clone(s.keks)
	for i, kek := range s.keks {
		s.keks[i] = f(kek)
	}
	return s
}
