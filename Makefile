# Everything here sets itself up: the first target that needs it makes .venv and builds the core.
# Only relative paths, and `python -m tool` instead of .venv/bin/tool: the checkout's own path may
# have a space in it, which neither make's prerequisites nor a script's first line can carry.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
VENV := .venv/made.stamp
BUILT := .venv/built.stamp

# What the compiled core and the installed metadata depend on. Python sources are not here: the
# install is editable.
SOURCES := Cargo.toml $(wildcard Cargo.lock) pyproject.toml \
	$(shell find rust/core rust/bindings -name '*.rs' -o -name Cargo.toml)

# One interpreter for every cargo call, so that pyo3 is not configured and built anew for each.
export PYO3_PYTHON := $(CURDIR)/$(VENV_PYTHON)
# A virtual environment that happens to be active must not be the one that maturin installs into.
export VIRTUAL_ENV := $(CURDIR)/.venv
unexport CONDA_PREFIX
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:  ## Show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 14

.PHONY: demo
demo: $(BUILT)  ## Install a small made-up dataset from a server on this machine, and show it
	$(VENV_PYTHON) -m fdf256_fast demo

.PHONY: test
test: $(BUILT)  ## Run the tests of the core (cargo) and of the package (pytest)
	cargo test --quiet -p fdf256-core
	$(VENV_PYTHON) -m pytest

.PHONY: lint
lint: $(BUILT)  ## Check style, types, the stub of the core, and Rust lints; changes nothing
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy --strict
	$(VENV_PYTHON) -m mypy.stubtest --mypy-config-file pyproject.toml \
		--allowlist tests/stubtest-allowlist.txt --ignore-unused-allowlist fdf256_fast._core
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: fmt
fmt: $(BUILT)  ## Put imports in order and format Python and Rust
	$(VENV_PYTHON) -m ruff check --select I --fix
	$(VENV_PYTHON) -m ruff format
	cargo fmt --all

# How long each fuzz target runs.
SECONDS_EACH ?= 60

.PHONY: fuzz
fuzz: $(BUILT)  ## Run each fuzz target for SECONDS_EACH seconds (60); what is found is in rust/fuzz/artifacts
	command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	cargo test --quiet -p fdf256-core --test properties -- --ignored write_seeds
	for target in $$(cargo fuzz list --fuzz-dir rust/fuzz); do \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir rust/fuzz --sanitizer none $$target -- \
			-max_total_time=$(SECONDS_EACH) -max_len=8192 -timeout=30 -print_final_stats=1 || exit 1; \
	done

.PHONY: bench
bench: $(BUILT)  ## Time everything side by side with the tools one would pick instead, and write bench/results
	$(VENV_PYTHON) -m bench --write

.PHONY: docs
docs: $(BUILT)  ## Write the reference of the package and of the core to target/docs and target/doc
	$(VENV_PYTHON) -m pdoc -d google -o target/docs fdf256_fast
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps -p fdf256-core

.PHONY: clean
clean:  ## Remove everything that was built, the virtual environment too
	rm -rf .venv target dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f python/fdf256_fast/_core*.so
	find python tests -name __pycache__ -prune -exec rm -rf {} +

# Before the stamp is there, --clear starts afresh: a half-made environment is of no use.
$(VENV):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv --clear .venv
	$(VENV_PYTHON) -m pip install --quiet 'maturin>=1.9.4,<2'
	touch $(VENV)

# `pip install --editable` would do the same, but fetches the build backend anew each time.
$(BUILT): $(SOURCES) | $(VENV)
	$(VENV_PYTHON) -m maturin develop --release --extras dev
	# As an installation does: where Python may not write its caches, each start would compile all anew.
	$(VENV_PYTHON) -m compileall -q python/fdf256_fast
	touch $(BUILT)
