package classify_test

import (
	"fmt"

	"github.com/coffer-storage/coffer/shared/classify"
)

func ExampleParse() {
	class, err := classify.Parse("phi")
	fmt.Println(class, err)
	_, err = classify.Parse("secret")
	fmt.Println(err)
	// Output:
	// phi <nil>
	// coffer: unknown classification: use public, internal, confidential, pii or phi
}

func ExampleClass_Rules() {
	for _, class := range classify.All {
		rules := class.Rules()
		fmt.Println(class, rules.Encrypt, rules.MaxTTL/3600, "hours")
	}
	// Output:
	// public false 0 hours
	// internal true 720 hours
	// confidential true 24 hours
	// pii true 168 hours
	// phi true 24 hours
}

// A reader that expects personal data refuses a package that claims to be less.
func ExampleClass_CheckMin() {
	fmt.Println(classify.PHI.CheckMin(classify.PII))
	fmt.Println(classify.Internal.CheckMin(classify.PII))
	// Output:
	// <nil>
	// coffer: the package's classification is below the reader's minimum
}
