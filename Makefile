# `make help` is the index. ARGS="…" is passed on by demo, test, e2e and bench.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO ?= cargo
ARGS ?=

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: demo
demo: setup ## Watch mTLS, breaker, fallback, bulkhead and a trace at work (ARGS="--once" for the scripted run)
	@$(CARGO) build --release >&2
	@target_dir=$$($(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'); \
	exec "$$target_dir/release/outrigger" demo $(ARGS)

.PHONY: check
check: setup ## Format, clippy with warnings denied, unit tests
	@scripts/format --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --test e2e -- -D warnings
	SEEDS=10 $(CARGO) test --lib

.PHONY: test
test: setup ## Everything: unit tests, and the real binary on the wire
	$(CARGO) test $(ARGS)

.PHONY: sim
sim: setup ## The whole mesh on a simulated clock and network (SEEDS=how many SEED=the first; with SEEDS=1 the log)
	SEEDS=$(SEEDS) SEED=$(SEED) $(CARGO) test --lib simulation::tests::every_seed -- --nocapture

.PHONY: e2e
e2e: setup ## Against a real Kubernetes: E2E_KUBECONFIG's, kind's, or one built and started here as root (ARGS="part of a test's name")
	@e2e/cluster up
	@own=$$(e2e/image) && others=$$(e2e/images) && e2e/cluster load $$own $$others
	$(CARGO) test --test e2e -- --test-threads=1 $(ARGS)

.PHONY: conformance
conformance: setup ## Suites by others, directly and through two proxies; writes docs/conformance.md (ARGS=gateway-api: on a cluster)
	@scripts/conformance $(ARGS)

.PHONY: bench
bench: setup ## Measure beside Envoy, HAProxy and nginx: 15 minutes; ARGS="--quick" takes 3 (writes docs/benchmarks)
	$(CARGO) bench --profile dist --bench mesh -- $(ARGS)

.PHONY: pieces
pieces: setup ## Time the decisions on a request's way, each by itself (ARGS="breaker" for one of them)
	$(CARGO) bench --profile release --bench pieces -- $(ARGS)

.PHONY: cost
cost: setup ## Count the instructions and allocations of a request, and compare (UPDATE_COST=1 takes them in)
	@scripts/cost

.PHONY: fuzz
fuzz: ## Search for inputs that break an invariant (SECONDS=30 for each target, TARGET=http1 for one)
	@scripts/fuzz $(or $(SECONDS),30) $(TARGET)

.PHONY: fuzz-corpus
fuzz-corpus: ## Take what `make fuzz` found into the committed corpora, minimised
	@scripts/fuzz --minimise $(TARGET)

.PHONY: chart
chart: ## Lint and render the Helm chart under its value sets; its README is fresh (needs helm)
	@scripts/chart

.PHONY: fmt
fmt: ## Format the code
	@scripts/format

.PHONY: lint
lint: setup ## Clippy, warnings denied
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --test e2e -- -D warnings

.PHONY: crds
crds: setup ## Write the chart's CRDs anew from the Rust types
	UPDATE_CRDS=1 $(CARGO) test --lib crds_tests

.PHONY: deny
deny: ## Licences, duplicates, sources and advisories of the dependencies
	@scripts/deny

.PHONY: sbom
sbom: ## Print what the binary is made of, as CycloneDX
	@scripts/sbom

.PHONY: soak
soak: setup ## Mixed traffic, churn, edits and rotation for DURATION (10m, 1h); CSV and plot in target/soak
	OUTRIGGER_SOAK=$(or $(DURATION),10m) $(CARGO) test --test it soak::memory -- --nocapture

.PHONY: reliability
reliability: setup ## Make every fault under load and write docs/reliability.md anew (PAUSE=seconds for processes that are stopped)
	@scripts/reliability

.PHONY: setup
setup: ## Say what this machine lacks for building, and how to get it
	@scripts/setup
