#!/bin/sh
# Builds a static, reproducible binary: the same source files give the same bytes in any folder. Usage: scripts/build.sh FILE
# Set VERSION to stamp a version if git is not available.
set -eu
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || true)}
export CGO_ENABLED=0
exec go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$1" ./cmd/server
