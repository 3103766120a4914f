package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coffer-storage/coffer/shared/classify"
)

// one returns a function that finds a counter of a vector the first time, which makes it, and then returns it: for each request, the
// search would cost more than the counting.
func one(of *prometheus.CounterVec, labels ...string) func() prometheus.Counter {
	return sync.OnceValue(func() prometheus.Counter { return of.WithLabelValues(labels...) })
}

// byClass is a counter for each class. The first one is for values without a class.
type byClass [classify.PHI + 1]func() prometheus.Counter

func eachClass(one func(class string) func() prometheus.Counter) (b byClass) {
	for class := range b {
		b[class] = one(className(classify.Class(class)))
	}
	return b
}

func (b *byClass) of(class classify.Class) prometheus.Counter {
	if !class.Valid() {
		class = 0
	}
	return b[class]()
}
