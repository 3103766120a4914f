//go:build !linux

package sqlitefile

import "os"

func memoryDir() (string, error) { return "", nil }

func lockIndex(string) (*os.File, error) { return nil, nil }
