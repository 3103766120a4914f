# make run    the server with its demo at http://localhost:8080
# make deps   installs the Debian and npm packages that tests and builds need
# make test   all tests (Go, Node and three browsers) and the linters
# make bench  measures ratios against hand-written baselines, in bench/results.json
# make faults tests a server while disks, Redis, clocks and processes fail, and writes docs/faults.md (as root)
# make lint   formatting, vet, staticcheck, golangci-lint, types
# make wasm   the WebAssembly core, with its sizes
# make build  the binary bin/coffer, static and reproducible
# make man    its manual pages, in build/man
# make release  binaries for six platforms, the npm package, the container's context, SBOMs and checksums, in build/release
# make soak   long tests: hundreds of kills, random histories, many tenants, fuzzing

SHELL := /bin/bash -o pipefail
GO_FILES := $(wildcard $(shell git ls-files -co --exclude-standard '*.go' go.mod go.sum))
WEB_FILES := $(wildcard $(shell git ls-files -co --exclude-standard web ':!web/demo'))
DEMO_FILES := $(wildcard $(shell git ls-files -co --exclude-standard web/demo))
# Debian packages. Go and Node must be installed already.
PACKAGES := chromium firefox-esr webkit2gtk-driver xvfb redis-server systemd prometheus
# A few minutes for each fuzz test of a parser.
FUZZTIME ?= 3m

.PHONY: run build man wasm deps test bench faults lint generate release soak clean

run: bin/coffer
	bin/coffer serve --listen 127.0.0.1:8080 --data coffer-data

build: bin/coffer

bin/coffer: $(GO_FILES) web/demo/dist/index.html
	scripts/build.sh $@

man: bin/coffer
	bin/coffer man --dir build/man

web/demo/dist/index.html: $(DEMO_FILES) web/dist/index.js
	npx vite build --config web/demo/vite.config.ts --logLevel warn

web/dist/index.js: $(WEB_FILES) $(GO_FILES) node_modules/.package-lock.json
	node web/build.mjs

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --include=dev --no-audit --no-fund --loglevel=error
	@touch $@

wasm: node_modules/.package-lock.json
	node web/build.mjs --core
	node scripts/sizes.mjs

deps: node_modules/.package-lock.json
	scripts/install-deps.sh $(PACKAGES)

test: deps bin/coffer
	node scripts/test.mjs

bench: deps bin/coffer
	node bench/run.mjs

faults: deps
	COFFER_FAULTS=$(CURDIR)/docs/faults.md go test -count=1 -timeout 90m -run TestFaults -v ./bench/faults

lint: web/dist/index.js
	node scripts/lint.mjs

generate: node_modules/.package-lock.json
	go generate ./...
	npx openapi-typescript internal/api/openapi.yaml --output web/src/client/openapi.gen.ts --default-non-nullable false

release: web/demo/dist/index.html
	scripts/release.sh

soak: deps
	COFFER_KILLS=100 COFFER_HISTORIES=500 go test -count=1 ./internal/recovery ./internal/rotation
	COFFER_SOAK_UNLOCKED=20000 go test -count=1 -timeout 30m -run TestShredReachesAllServers -v ./server/keyring
	COFFER_FLIPS=100 go test -count=1 -run TestDamageOfEachFileIsReported -v ./server/kv/sqlitekv
	COFFER_LOAD_UPLOADS=200 go test -count=1 -run TestSlowClientsDoNotBlockOthers -v ./cmd/server
	COFFER_SOAK_UNLOCKED=20000 go test -count=1 -timeout 30m -v -run 'TestShredReachesAllServers|TestTenThousandTenantsSurviveAnOutage' ./server/keyring
	COFFER_SOAK_TENANTS=100000 COFFER_SOAK_ENTRIES=10000000 go test -count=1 -timeout 60m -v ./bench/soak
	scripts/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin web/dist web/src/core/wasm_exec.js
	find web/demo/dist -mindepth 1 ! -name .keep -delete
