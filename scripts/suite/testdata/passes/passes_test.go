package passes

import "testing"

func TestPasses(t *testing.T) { t.Log("a message that is not shown") }

func TestSkips(t *testing.T) { t.Skip("it is not here") }
