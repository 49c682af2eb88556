# `make demo` on a laptop; `make demo REQUIREMENTS=requirements/gpu.txt` on a Linux machine with CUDA.

PYTHON ?= python3
VENV := .venv
# The list that .venv was made from, so that a later `make test` on the CUDA machine doesn't make it anew; the CPU list at first.
MADE_FROM := $(patsubst $(VENV)/.list-%,requirements/%.txt,$(firstword $(wildcard $(VENV)/.list-*)))
REQUIREMENTS ?= $(or $(MADE_FROM),requirements/cpu.txt)

TEST_PROCESSES ?= 2

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-deps
# One stamp for each list: a change of list rebuilds the environment, a change of pyproject.toml reinstalls only ourselves.
STAMP := $(VENV)/.list-$(basename $(notdir $(REQUIREMENTS)))
INSTALLED := $(VENV)/.installed

# Nothing that runs here reports home.
export DO_NOT_TRACK ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1
export UNSLOTH_DISABLE_STATISTICS ?= 1
export VLLM_NO_USAGE_STATS ?= 1
# mkdocs-material tells of its successor at every build.
export NO_MKDOCS_2_WARNING ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo test check docs format lock clean

help:
	@echo "make install  .venv with everything; REQUIREMENTS=requirements/gpu.txt for CUDA"
	@echo "make demo     train and evaluate a small model (configs/demo.yaml)"
	@echo "make test     every test that needs no GPU, the slow ones included"
	@echo "make check    format, lint, types, layers, documentation"
	@echo "make docs     what is generated of the documentation, then site/index.html"
	@echo "make format   rewrite the code in the project's format"
	@echo "make lock     resolve requirements/*.txt again from pyproject.toml"
	@echo "make clean    remove .venv and caches"

install: $(INSTALLED)

$(STAMP): $(REQUIREMENTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@if [ -e $(BIN)/python ] && [ ! -e $@ ]; then echo "building $(VENV) anew for $(REQUIREMENTS)"; fi
	@[ -e $@ ] || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing $(REQUIREMENTS): some minutes and 8 GB when new"
	$(PIP_INSTALL) --quiet --requirement $(REQUIREMENTS)
	@touch $@

$(INSTALLED): $(STAMP) pyproject.toml
	$(PIP_INSTALL) --quiet --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED)
	$(BIN)/toolkit run configs/demo.yaml

# The tests bring or make their weights; offline, so that one which reaches for a hub fails on every machine.
test: export HF_HUB_OFFLINE := 1
# Files run in two processes, in their order, which leaves no long one to the end: a file's tests share what it trained
# or loaded. A thread that waits leaves its core to the other process.
test: export OMP_WAIT_POLICY ?= PASSIVE
test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --durations=15 --durations-min=1

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.reference --check
	$(BIN)/python -m mkdocs build --strict --quiet

docs: $(INSTALLED)
	$(BIN)/python -m scripts.reference
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

format: $(INSTALLED)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock:
	scripts/lock.sh

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
