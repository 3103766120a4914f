#!/bin/sh
# Builds the binary into a file: static, and the same bytes from the same files, wherever they lie. Usage: scripts/build.sh FILE
# VERSION stamps a version where there is no git to ask.
set -eu
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || true)}
export CGO_ENABLED=0
exec go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$1" ./cmd/server
