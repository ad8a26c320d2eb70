SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
# Each target sets up what it needs, from the package registries alone, without root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MODELS := .cache/models

.PHONY: peers test-versions demo test test-slow lint types quick setup setup-demo models benchmark clean check lock

demo: setup-demo models
	@$(BIN)/appliance demo

test: lint types quick

check:
	@command -v git >/dev/null || { echo "git is missing: install the package git"; exit 3; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.10 or later"; exit 3; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is older than 3.10: run make PYTHON=python3.12"; exit 3; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "venv is missing: install the package python3-venv"; exit 3; }

$(STAMP): requirements-dev.lock setup.py | check
	@echo "setting up $(VENV) from the hashed lock ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r requirements-dev.lock 2>.pip.log \
	    | awk '/^Collecting/ {printf "\r  %d packages", ++n; fflush()} END {print ", installed"}' \
	    || { tail -n 5 .pip.log; echo "the packages could not be installed: is the package registry reachable?"; exit 3; }
	@rm -f .pip.log
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

setup setup-demo: $(STAMP)

models: setup
	@ORT_DISABLE_TELEMETRY=1 $(BIN)/models fetch --pictures --folder $(MODELS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: setup
	$(BIN)/mypy --python-version 3.10 -p appliance -p drivers -p models -p provisioning -p tests
	$(BIN)/mypy --python-version 3.12 -p appliance -p drivers -p models -p provisioning -p tests

# What the tests run against is fetched before the clock of any test runs.
peers: setup
	@$(BIN)/python -m tests.fakes.fetch

quick: models peers
	$(BIN)/python -m pytest

# The long ones, and the quick ones on the other Pythons of the device that are installed here.
test-slow: models peers
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes --no-deps -r requirements-slow.lock
	$(BIN)/python -m pytest -m "slow or soak" --timeout 3600
	$(MAKE) test-versions

test-versions:
	@for version in 3.10 3.12; do \
	    python=$$(command -v python$$version || ls -d $$HOME/.pyenv/versions/$$version.*/bin/python 2>/dev/null | tail -n 1); \
	    if [ -n "$$python" ]; then echo "== $$python"; $(MAKE) PYTHON=$$python VENV=.venv-$$version quick; \
	    else echo "== Python $$version is not installed: skipped"; fi; \
	done

# Rewrites both locks; needs uv. No index address goes in.
lock:
	uv pip compile setup.py --universal --python-version 3.10 --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements.lock
	echo 'dlib-bin' | uv pip compile - --universal --python-version 3.10 --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements-slow.lock
	uv pip compile setup.py --extra test --universal --python-version 3.10 --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements-dev.lock

clean:
	rm -rf $(VENV) .cache demo-out build *.egg-info
