# The commands of this project. `make` alone lists them.

# A built binary lives where cargo puts it, CARGO_TARGET_DIR honoured.
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

build: ## build the release binaries, skiff and ctl
	@scripts/packages.sh build
	cargo build --release -p skiff -p skiff-ctl

run: ## start a cluster here, run an example, show it
	@scripts/packages.sh build engine
	@$(MAKE) --no-print-directory build
	@scripts/run.sh $(BIN)

stop: ## end the cluster that `make run` started and remove all it made
	@scripts/stop.sh $(BIN)

test: ## every test
	@scripts/packages.sh build engine test
	@scripts/test.sh

check: ## format, lints, docs, and which crate may import which
	@scripts/packages.sh build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	cargo test -q -p skiff --test imports

bench: ## measure, and write bench/RESULTS.md
	@scripts/packages.sh build engine test
	@$(MAKE) --no-print-directory build
	cargo run --release -p skiff-bench -- --bin $(BIN)

fuzz: ## every decoder, fed with what is almost right; TIME=600 seconds each
	@scripts/packages.sh build
	@scripts/fuzz.sh $(or $(TIME),60)

replay: build ## the same requests to PEER_KUBE_APISERVER and to this server; prints what they answer differently
	cargo run --release -p skiff-bench -- --bin $(BIN) --replay

install: build ## put binaries, completions and systemd units in place
	@scripts/install.sh $(BIN)

.PHONY: help build run stop test check bench fuzz replay install
.DEFAULT_GOAL := help
