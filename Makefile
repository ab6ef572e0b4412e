# SPDX-License-Identifier: MIT
# `make demo` runs the main job, `make test` passes the tests; both set up what they need.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: venv ext clean

venv: $(VENV)/ready

$(VENV)/ready: pyproject.toml setup.py
	@echo "== Python environment in $(VENV)"
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install -q --upgrade pip
	$(VENV)/bin/pip install -q -e '.[test]'
	@touch $@

ext: venv
	$(PY) setup.py -q build_ext --inplace

clean:
	rm -rf build dist $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
	find ivshmem_virtio cython_ext -name '*.so' -delete -o -name 'core.c' -delete
