# `make help` is the index.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## Say what this machine lacks for building, and how to get it
	@scripts/setup

.PHONY: build
build: setup ## Build the outrigger binary for development
	$(CARGO) build

.PHONY: check
check: setup ## Format, clippy with warnings denied, unit tests
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) test --lib

.PHONY: test
test: setup ## Everything: unit tests, and the real binary on the wire
	$(CARGO) test

.PHONY: deny
deny: ## Licences, advisories, duplicates (needs cargo-deny)
	cargo deny check
