package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coffer-storage/coffer/shared/classify"
)

// lazyCounter returns a function that returns a counter of a vector. It finds the counter only once, because the search
// costs more than the counting.
func lazyCounter(of *prometheus.CounterVec, labels ...string) func() prometheus.Counter {
	return sync.OnceValue(func() prometheus.Counter { return of.WithLabelValues(labels...) })
}

// classCounters contains a counter for each class. The first one is for values without a class.
type classCounters [classify.PHI + 1]func() prometheus.Counter

func newClassCounters(one func(class string) func() prometheus.Counter) (b classCounters) {
	for class := range b {
		b[class] = one(className(classify.Class(class)))
	}
	return b
}

func (b *classCounters) of(class classify.Class) prometheus.Counter {
	if !class.Valid() {
		class = 0
	}
	return b[class]()
}
