//go:build js && wasm

// Command hello is the smallest Go program that says it is ready: what the core's loading time is held against.
package main

//go:wasmimport coffer ready
func ready()

func main() {
	ready()
	select {}
}
