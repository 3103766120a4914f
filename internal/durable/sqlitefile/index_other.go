//go:build !linux

package sqlitefile

func memoryDir(string) (string, error) { return "", nil }

func barIndex(string) error { return nil }
