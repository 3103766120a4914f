//go:build !linux

package sqlitefile

func memoryDir() (string, error) { return "", nil }

func lockIndex(string) (unlock func(), err error) { return nil, nil }
