# xentape: what a person runs by hand, and what CI runs, are the same lines.
GO      ?= go
BIN     := bin
LDFLAGS := -s -w
FUZZTIME ?= 400x
CORPUS   ?= $(HOME)/.cache/xentape/corpus-full

.PHONY: help all build demo test deps check race unit fuzz fuzz-smoke cross bench lab lab-test corpus-full generate install clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | sort | expand -t 16

all: build

build: ## build xentape and xentaped into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/xentape ./cmd/xentape
	@if [ "$$($(GO) env GOOS)" = linux ]; then CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/xentaped ./cmd/xentaped; fi

demo: build ## tell a recorded incident on the terminal, from the tape that ships
	@.ci/demo

test: deps check cross unit race fuzz-smoke ## install what the tests need, then run all of them

deps: ## install the Debian packages the tests use
	@.ci/deps

check: ## gofmt, vet, staticcheck, tidy go.mod
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'gofmt differs in the files above: run gofmt -w on them'; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags update ./analyze/process
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

unit: ## every test
	XENTAPE_REQUIRE_TOOLS=1 CGO_ENABLED=0 $(GO) test -timeout 30m ./...

race: ## the rooms with goroutines, under the race detector
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m ./format/... ./capture/... ./replay/... ./analyze/network/... ./analyze/process/... ./analyze/story/... ./corpus
	CGO_ENABLED=1 $(GO) test -race -run 'Digest|Deterministic' ./analyze/files

fuzz-smoke: ## each fuzz target for FUZZTIME (400 executions)
	@.ci/fuzz $(FUZZTIME)

fuzz: ## each fuzz target for minutes
	@.ci/fuzz 3m

cross: ## the analyst's tool builds where analysts work
	@set -e; for t in linux/arm64 darwin/arm64 windows/amd64; do echo "build xentape $$t"; \
	  CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) build -trimpath -o /dev/null ./cmd/xentape; done
	@echo "build xentaped linux/arm64"; CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) vet ./capture/... ./cmd/xentaped

bench: build ## speed and size beside the tools people use today
	@.ci/bench

lab: build ## boot a real Xen host under emulation, with guests
	@corpus/lab/up

lab-test: build ## record a real guest's incident and compare with its own record
	@corpus/lab/test

corpus-full: build ## record the lab's whole matrix into CORPUS (resumes what was interrupted; hours)
	@corpus/lab/matrix $(CORPUS)

generate: ## regenerate what is generated and committed (BPF object, vectors)
	$(GO) generate ./...

install: ## install xentape into GOBIN
	CGO_ENABLED=0 $(GO) install -trimpath -ldflags '$(LDFLAGS)' ./cmd/xentape

clean: ## remove what make built
	rm -rf $(BIN)
