//go:build !linux

package sqlitefile

func memoryDir(string) (string, error) { return "", nil }

func blockIndex(string) error { return nil }
