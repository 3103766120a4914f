package panics

import "testing"

func TestBefore(t *testing.T) {}

// TestPanics panics outside of a test's goroutine.
func TestPanics(t *testing.T) {
	go panic("planned")
	select {}
}

func TestNeverRuns(t *testing.T) {}
