//go:build js && wasm

// Command hello is the smallest Go program that reports that it is ready. The loading time of the core is compared with it.
package main

//go:wasmimport coffer ready
func ready()

func main() {
	ready()
	select {}
}
