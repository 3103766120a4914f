package planted

import "testing"

func TestPrints(t *testing.T) { t.Log("a secret of a test: pl4nted") }

func TestFails(t *testing.T) { t.Fatal("this may show a secret: pl4nted") }
