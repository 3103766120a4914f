#!/usr/bin/env bash
# Builds the files of a release in build/release: binaries for each platform, the npm package, the context of the container, an SBOM for each of
# the first two, and SHA256SUMS. The same commit gives the same bytes, on any machine with the same Go and Node. Usage: scripts/release.sh
# VERSION overrides the version; PLATFORMS the list of platforms.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -z "$(git status --porcelain)" ] || { echo "release: the working tree has changes: commit or remove them" >&2; exit 1; }
VERSION=${VERSION:-$(git describe --tags --always)}
PLATFORMS=${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export VERSION SOURCE_DATE_EPOCH
out=build/release
sbom=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0
rm -rf "$out" && mkdir -p "$out"

# archive FILE FOLDER packs a folder without anything that differs between two runs.
archive() {
  tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u+w,go-w -C "$(dirname "$2")" "$(basename "$2")" | gzip --no-name >"$1"
}

staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
for platform in $PLATFORMS; do
  os=${platform%/*} arch=${platform#*/}
  name=coffer-$VERSION-$os-$arch
  echo "$name"
  mkdir "$staging/$name"
  GOOS=$os GOARCH=$arch scripts/build.sh "$staging/$name/coffer$([ "$os" != windows ] || echo .exe)"
  cp LICENSE README.md CHANGELOG.md "$staging/$name"
  if [ "$os" = linux ]; then
    cp -r packaging "$staging/$name"
  fi
  archive "$out/$name.tar.gz" "$staging/$name"
done

npm pack --silent --pack-destination "$out" >/dev/null
git archive --prefix="coffer-$VERSION-container/" HEAD | gzip --no-name >"$out/coffer-$VERSION-container.tar.gz"

go run "$sbom" app -json -noserial -main cmd/server -output "$out/coffer-$VERSION.cdx.json" .
npm sbom --sbom-format cyclonedx --omit dev >"$out/coffer-$VERSION-npm.cdx.json"
# Both tools write the time of the run; the npm one also a random serial number.
node -e '
const { readFileSync, writeFileSync } = require("node:fs");
for (const file of process.argv.slice(1)) {
  const bom = JSON.parse(readFileSync(file, "utf8"));
  delete bom.serialNumber;
  bom.metadata.timestamp = new Date(process.env.SOURCE_DATE_EPOCH * 1000).toISOString();
  writeFileSync(file, JSON.stringify(bom, null, 2) + "\n");
}' "$out"/*.cdx.json

(cd "$out" && sha256sum -- * >"$staging/SHA256SUMS" && mv "$staging/SHA256SUMS" .)
cat "$out/SHA256SUMS"
