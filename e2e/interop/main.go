// Command interop is the Go side of the end-to-end tests: it opens packages that a browser sealed, and seals packages for a
// browser.
//
//	interop vectors          prints Wycheproof's vectors of the primitives, as JSON
//	interop keys             makes keyset documents, as the server does
//	interop exchange         seals and opens packages
//
// Requests come as JSON on standard input, answers go as JSON to standard output. Bytes are base64.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	commands := map[string]func() (any, error){"vectors": vectors, "keys": keys, "exchange": exchange}
	command := commands["exchange"]
	if len(os.Args) == 2 {
		command = commands[os.Args[1]]
	}
	if command == nil {
		fail(fmt.Errorf("no such command"))
	}
	answer, err := command()
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answer)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "interop:", err)
	os.Exit(1)
}

// request reads the request of the test.
func request[T any]() (t T, err error) {
	err = json.NewDecoder(os.Stdin).Decode(&t)
	return t, err
}
