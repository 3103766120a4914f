package kms

import (
	"slices"

	"github.com/coffer-storage/coffer/shared/classify"
)

// Set is the KEKs of a deployment: one for all classes, or others for some of them. The zero Set has none; a
// Set is immutable.
type Set struct {
	keks  []KEK // the first is the general one
	class [classify.PHI + 1]int
}

// NewSet makes a set whose KEK is general for every class.
func NewSet(general KEK) Set { return Set{keks: []KEK{general}} }

// With gives a set in which keys of the class are under another KEK.
func (s Set) With(class classify.Class, kek KEK) Set {
	s.keks = append(slices.Clone(s.keks), kek)
	s.class[class] = len(s.keks) - 1
	return s
}

// And returns a set with another KEK, which no new key is put under: it opens what a former configuration wrapped.
func (s Set) And(former KEK) Set {
	s.keks = append(slices.Clone(s.keks), former)
	return s
}

// For is the KEK of a class.
func (s Set) For(class classify.Class) KEK { return s.keks[s.class[class]] }

// All are the set's KEKs, the general one first.
func (s Set) All() []KEK { return s.keks }

// Map gives the set with f of each KEK, such as one that counts calls.
func (s Set) Map(f func(KEK) KEK) Set {
	s.keks = slices.Clone(s.keks)
	for i, kek := range s.keks {
		s.keks[i] = f(kek)
	}
	return s
}
