package readiness

// WatchInterval is the time between two rounds of Watch.
const WatchInterval = watchInterval
