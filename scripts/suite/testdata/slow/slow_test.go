package slow

import "testing"

func TestBefore(t *testing.T) {}

// TestSlow outlasts each time limit.
func TestSlow(t *testing.T) { <-make(chan bool) }
