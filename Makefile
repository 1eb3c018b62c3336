# Python and make are all it takes; make setup fetches the rest into .venv.

PYTHON ?= python3
# pyenv's own python3.10 refuses to start where another version is chosen: ask it for the real one.
PYTHON310 ?= $(shell for p in python3.10 "$$(pyenv prefix 3.10 2>/dev/null)/bin/python3.10"; do \
	"$$p" -c '' 2>/dev/null && echo "$$p" && break; done)

VENV := .venv
VENV310 := .venv310
PEERS := .venvs-of-peers
CONTRACT := .trt-contract
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY310 := $(VENV310)/.ready
INSTALL := -m pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: help setup demo check test test-device test-peers test-tensorrt gpu-check clean

help:
	@echo 'make setup        .venv with detq, torch and the tools (PYTHON=$(PYTHON))'
	@echo 'make demo         everything at work on drawn pictures, in runs/demo'
	@echo 'make check        format, lint, types, direction of imports'
	@echo 'make test         all tests'
	@echo 'make test-device  what runs on devices: Python 3.10, no torch (PYTHON310=$(PYTHON310))'
	@echo 'make test-peers   lint against what other quantizers write, installed into $(PEERS)'
	@echo 'make test-tensorrt  our TensorRT code against the bindings of five versions, fetched into $(CONTRACT)'
	@echo 'make gpu-check    TensorRT tried out on an NVIDIA GPU, the record in runs/gpu-check.json'
	@echo 'make clean        remove what these made'

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo 'detq needs Python 3.10 or later, $(PYTHON) is older or missing: make setup PYTHON=...' >&2; \
		exit 1; }
	@echo 'setup: $(VENV) from $(PYTHON), then detq with torch and the tools (minutes the first time)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(INSTALL) -e '.[quantize,cpu,trt-check,remote,dev]'
	@touch $@
	@echo 'setup: done, the command is $(BIN)/detq'

demo: $(READY)
	@$(BIN)/detq demo --output runs/demo

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

# Files of tests side by side: most of them wait for processes of one thread.
test: $(READY)
	@$(BIN)/pytest -q -n auto --dist loadfile

test-peers: $(READY)
	@DETQ_PEERS=$(PEERS) $(BIN)/pytest -q tests/detq_deploy/lint/test_peers.py

test-tensorrt: $(READY)
	@$(BIN)/python -m tests.detq_deploy.trt.contract.install
	@$(BIN)/pytest -q tests/detq_deploy/trt

gpu-check: $(READY)
	@$(BIN)/python -m tools.gpu_check all runs/gpu-check --output runs/gpu-check.json

ifeq ($(strip $(PYTHON310)),)
test-device:
	@echo 'test-device: skipped, there is no python3.10 here (give PYTHON310=...)'
else
test-device: $(READY310)
	@$(VENV310)/bin/pytest -q -n auto --dist loadfile

$(READY310): pyproject.toml constraints.txt
	@echo 'test-device: $(VENV310) from $(PYTHON310), then detq without torch'
	@'$(PYTHON310)' -m venv $(VENV310)
	@$(VENV310)/bin/python $(INSTALL) -e '.[cpu,remote]' pytest pytest-xdist hypothesis syrupy jsonschema
	@touch $@
endif

clean:
	rm -rf $(VENV) $(VENV310) $(PEERS) $(CONTRACT) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
