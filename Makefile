# SPDX-License-Identifier: MIT
# `make demo` runs the main job, `make test` passes the tests; each sets up what it needs, once.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
RUN := $(VENV)/bin/ivshmem-virtio
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
CORE_SOURCES := $(wildcard cython_ext/*) $(wildcard cython_ext/*/*) ivshmem_virtio/core.pxd

# What a fresh Debian 12 lacks. Kernels, headers and guest programs are fetched by the package itself, into its cache.
PACKAGES := build-essential python3-dev python3-venv qemu-system-x86 qemu-system-common passt e2fsprogs busybox-static cpio xz-utils \
            make gcc-12 libelf-dev iproute2 kmod libseccomp2 liburing-dev spin valgrind
FUZZ_PACKAGES := clang-14
BENCH_PACKAGES := dpdk-dev librte-net-virtio23 librte-net-vhost23

.PHONY: help deps venv ext lint test test-kasan model soak fuzz fuzz-ready fuzz-corpus coverage-core bench bench-quick demo shell clean distclean

help:
	@echo "make demo       boot a stock guest on one shared-memory window and check everything it does"
	@echo "make test       run every test, the linters and the type checker"
	@echo "make model      the protocol's models, checked exhaustively by spin in every size; a few minutes"
	@echo "make test-kasan guests on a kernel with KASAN and lockdep, compiled on first use; an hour or two"
	@echo "make soak       the long forms: hundreds of kills under load; an hour or two, prints what it measured"
	@echo "make hostile    a million mutated chains against each type of device; an hour, prints what it measured"
	@echo "make fuzz       coverage-guided fuzzing for SECONDS=60 (or what you say), then what the corpus covers"
	@echo "make bench      figures of this machine, each beside that of a peer; bench-quick takes under 5 minutes"
	@echo "make shell      an interactive guest shell over virtio-console"
	@echo "make clean      remove what was built here; make distclean also empties the download cache"

# -- set-up -----------------------------------------------------------------------------------------------------------

deps: build/deps

build/deps: Makefile
	@mkdir -p build
	@missing=$$(for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  echo "== installing" $$missing; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >build/apt.log 2>&1 \
	    || { tail -20 build/apt.log; exit 1; }; \
	fi
	@touch $@

venv: $(VENV)/ready

$(VENV)/ready: pyproject.toml setup.py | build/deps
	@echo "== Python environment in $(VENV)"
	@python3 -m venv $(VENV)
	@{ $(VENV)/bin/pip install -q --upgrade pip && $(VENV)/bin/pip install -q -e '.[test]'; } >build/pip.log 2>&1 \
	  || { tail -20 build/pip.log; exit 1; }
	@touch $@

ext: build/core

build/core: $(CORE_SOURCES) setup.py $(VENV)/ready
	@echo "== compiled core"
	@$(PY) setup.py -q build_ext --inplace
	@touch $@

# -- checks -----------------------------------------------------------------------------------------------------------

lint: ext
	@echo "== lint, format, types"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint cython_ext --max-line-length 120
	@$(VENV)/bin/mypy

test: lint
	@tests/all.sh $(PYTEST_ARGS)

# Guests on a kernel with address sanitizer, lock validator and leak detector, compiled once from Debian's source.
KASAN_TESTS := tests/vm/test_hostile_backend.py tests/vm/test_reload.py
test-kasan: ext
	@for p in flex bison bc; do dpkg -s $$p >/dev/null 2>&1 || $(SUDO) apt-get install -y -qq --no-install-recommends $$p >>build/apt.log; done
	@$(PY) -m tests.kasan.debug_kernel
	@IVSHMEM_KERNELS=6.1-kasan $(VENV)/bin/pytest -m 'soak or not soak' --timeout=1800 $(KASAN_TESTS) $(KASAN_ARGS)

# Long forms, one at a time, because what they measure are pauses. SOAK_ARGS chooses: SOAK_ARGS="-k disk", say.
soak: ext
	@$(VENV)/bin/pytest -m soak --ignore=tests/hostile $(SOAK_ARGS)
	@$(if $(SOAK_ARGS),,$(MAKE) --no-print-directory hostile)

# A million mutated chains and a hundred thousand mutated register writes for each type of device, sanitizers on.
.PHONY: hostile
hostile: ext
	@tests/hostile_sanitized.sh -m soak $(HOSTILE_ARGS)

# Every model must hold, every mutant fail (docs/model.md).
model: $(VENV)/ready
	@$(PY) -m model

# Ends with an error at a finding and says how to see it again (docs/fuzzing.md).
fuzz: SECONDS = 60
fuzz: fuzz-ready
	@$(PY) -m fuzz.campaign $(SECONDS) $(FUZZ_TARGETS)
	@fuzz/coverage.sh

# Takes what `make fuzz` found into the corpus, as few inputs as possible.
fuzz-corpus: fuzz-ready
	@$(PY) -m fuzz.merge $(FUZZ_TARGETS)

fuzz-ready: build/fuzz/core.so

build/fuzz/core.so: build/core build/fuzz/installed fuzz/build_core.sh
	@echo "== compiled core with sanitizers"
	@PYTHON=$(PY) fuzz/build_core.sh

build/fuzz/installed: pyproject.toml $(VENV)/ready
	@mkdir -p build/fuzz
	@missing=$$(for p in $(FUZZ_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  echo "== installing" $$missing; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >build/apt.log 2>&1 \
	    || { tail -20 build/apt.log; exit 1; }; \
	fi
	@$(VENV)/bin/pip install -q -e '.[fuzz]' >build/pip.log 2>&1 || { tail -20 build/pip.log; exit 1; }
	@touch $@

# The core again, compiled with line tracing into a folder of its own: which lines of the rings the tests reach.
coverage-core: ext
	@tests/coverage_core.sh

# Figures beside their peers, as JSON in build/; BENCH_SUITES chooses: BENCH_SUITES="ring blk", say (docs/performance.md).
bench: ext build/bench-ready
	@mkdir -p build
	@$(RUN) bench $(BENCH_SUITES) --json build/bench.json $(BENCH_ARGS)

bench-quick: ext build/bench-ready
	@mkdir -p build
	@$(RUN) bench $(BENCH_SUITES) --quick --json build/bench-quick.json $(BENCH_ARGS)

build/bench-ready: $(VENV)/ready
	@mkdir -p build
	@missing=$$(for p in $(BENCH_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  echo "== installing" $$missing; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >build/apt.log 2>&1 \
	    || { tail -20 build/apt.log; exit 1; }; \
	fi
	@$(VENV)/bin/pip install -q -e '.[bench]' >build/pip.log 2>&1 || { tail -20 build/pip.log; exit 1; }
	@touch $@

# -- faces ------------------------------------------------------------------------------------------------------------

demo: ext
	@$(RUN) demo $(DEMO_ARGS)

shell: ext
	@$(RUN) shell

clean:
	rm -rf build dist $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	find ivshmem_virtio cython_ext \( -name '*.so' -o -name 'core.c' -o -name 'generator.c' -o -name '*.html' \) -delete
	find . -name __pycache__ -prune -exec rm -rf {} +
	$(MAKE) --no-print-directory -C guest_driver clean

distclean: clean
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/ivshmem-virtio"
