#!/usr/bin/env bash
# Runs every fuzz test for the given time, one after the other. Usage: scripts/fuzz.sh 3m
set -euo pipefail
for package in $(go list ./...); do
  for fuzz in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    echo "== $package $fuzz"
    go test -run '^$' -fuzz "^$fuzz\$" -fuzztime "$1" "$package"
  done
done
