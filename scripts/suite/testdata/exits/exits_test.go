package exits

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(*testing.M) {
	fmt.Println("there is nothing to test with")
	os.Exit(1)
}

func TestNeverRuns(t *testing.T) {}
