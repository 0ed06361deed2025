# The commands of daily work. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help check build static test lint fmt doc bench bless install man site pictures

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check: fmt lint test doc ## everything that must be green before a commit lands

build: ## the release binary, target/release/svdkit
	cargo build --release --locked

static: ## the same, statically linked with musl (needs `rustup target add`)
	cargo build --release --locked --target $(shell uname -m)-unknown-linux-musl

test: ## all tests
	cargo test --locked

lint: ## clippy, warnings are errors
	cargo clippy --locked --all-targets -- -D warnings

fmt: ## formatting, checked
	cargo fmt --check

doc: ## the API documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

bench: build ## stages of the solver, then side by side with the peers (tests/bench/README.md)
	cargo bench --locked
	python3 tests/bench/side_by_side.py --svdkit target/release/svdkit

bless: ## accept the present output as the expected one in transcripts and tutorials, and the options of Python
	TRYCMD=overwrite cargo test --locked --test program -- transcripts tutorials
	cargo run --locked --quiet -- python-options > target/options.py && mv target/options.py src/python/svdkit/_options.py

man: build ## man pages into target/man
	mkdir -p target/man
	target/release/svdkit man target/man

site: ## the docs as a site, target/site/html (needs mdbook and Python)
	python3 docs/site.py

pictures: build ## those of README and docs, from real runs (needs Chromium and Pillow)
	python3 docs/pictures.py target/release/svdkit

install: ## svdkit into cargo's bin folder
	cargo install --path . --locked
