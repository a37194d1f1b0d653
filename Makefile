# Mainstay is one static Go program. Everything is built without cgo: one variant of each library is enough.
export CGO_ENABLED = 0
GO ?= go
SUDO ?= $(shell [ "$$(id -u)" = 0 ] || echo sudo -E env PATH="$$PATH")

# What a node needs to run, and what the tests need beside it: clang compiles the kernel programs again, to see whether what
# is committed is what comes out.
node_tools = containerd runc nftables
test_tools = $(node_tools) iproute2 e2fsprogs busybox-static clang llvm libbpf-dev

.PHONY: build demo demo-check demo-end test soak crash compat sim bench lint generate clean node-tools test-tools conformance

build: ## the program, as bin/mainstay
	$(GO) build -trimpath -o bin/mainstay ./cmd/mainstay

demo: build node-tools ## from the first push to a rolling update, and left running to be played with
	$(GO) build -o bin/demo ./cmd/demo
	$(SUDO) bin/demo

demo-check: build node-tools ## the same unattended, with figures; nothing is left of it
	$(GO) build -o bin/demo ./cmd/demo
	$(SUDO) bin/demo check

demo-end: ## end what make demo left running
	$(SUDO) bin/demo end

test: test-tools lint ## everything: as root, on real containers, a real kernel and real git
	$(SUDO) env CGO_ENABLED=0 MAINSTAY_TEST_ROOT=1 $(GO) test -timeout 20m ./...

soak: test-tools ## stories that take long: 200,000 requests through everything that may happen; 100 rounds of kill -9
	$(SUDO) env CGO_ENABLED=0 MAINSTAY_TEST_ROOT=1 $(GO) test -timeout 60m -count=1 -v ./cmd/mainstay -run 'TestStories/$(STORY)' -stories testdata/soak

ROUNDS ?= 40
crash: ## harm to the store: kill -9, damaged files, power cuts, full disks; ROUNDS says how much of it
	$(GO) test -c -o bin/crash ./reconcile/store/disk
	$(SUDO) env ROUNDS=$(ROUNDS) MAINSTAY_TEST_ROOT=1 bin/crash -test.run '^TestCrash$$' -test.timeout 0

bench: build test-tools ## the figures of docs/PERFORMANCE.md, beside what they are compared with; wants a quiet machine
	$(GO) build -o bin/bench ./cmd/bench
	$(SUDO) bin/bench

compat: ## what the rules of kinds have in common with Kubernetes' own, kind by kind; KIND=Pod SHOW=20 shows where they differ
	cd reconcile/scheme/compat && $(GO) run . $(if $(KIND),--kind $(KIND) --show $(or $(SHOW),20),--rates rates.txt) && $(if $(KIND),true,cat rates.txt)

sim: ## SEEDS=n stories of a whole cluster in which everything fails that can, or that of SEED
	$(GO) test -c -o bin/sim.test ./cmd/mainstay
	@cd cmd/mainstay && MAINSTAY_TEST_SEEDS=$(or $(SEEDS),100) MAINSTAY_TEST_SEED=$(SEED) ../../bin/sim.test -test.run 'TestACluster' -test.timeout 0

conformance: build test-tools ## Kubernetes' own conformance suite, or those of its tests whose names match FOCUS; the first time it is built, in minutes
	$(GO) build -o bin/conformance ./cmd/conformance
	$(SUDO) bin/conformance -focus '$(FOCUS)' -skip '$(SKIP)'

lint: ## formatting, vet, staticcheck, and a tidy go.mod
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

generate: test-tools ## the kernel programs, deep copies and OpenAPI, anew
	$(GO) generate ./...

clean:
	rm -rf bin

node-tools test-tools: %-tools:
	@missing=; for p in $($*_tools); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] || { echo "installing$$missing"; $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }
