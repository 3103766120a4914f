#!/usr/bin/env bash
# Installs those of the named Debian packages that are missing. Usage: scripts/install-deps.sh package…
set -euo pipefail
missing=()
for package in "$@"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "Please install: ${missing[*]} (root is needed for it)" >&2; exit 1; }
  root=(sudo)
fi
echo "Installing ${missing[*]} …"
# Debian starts Redis after installing it. The tests start their own servers.
"${root[@]}" sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq "$@" >/dev/null' sh "${missing[@]}"
