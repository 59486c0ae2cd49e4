# Two commands: `make demo` sets up and runs the main job, `make test` runs the tests.
# the first Python that runs and is new enough; some names on the path are only signposts to one that is not there
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := False
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help setup demo loop-demo test lint clean
help:            ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: .venv/ready   ## the environment, from requirements.lock

.venv/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed; found $$(python3 --version 2>&1)"; exit 1; }
	@$(PYTHON) -m venv .venv 2>/dev/null || { echo "python's venv module is missing: installing python3-venv"; apt-get update -qq && apt-get install -yqq python3-venv && $(PYTHON) -m venv .venv; }
	@$(PYTHON) -m venv .venv/tool   # uv lives apart: a sync removes whatever the lock does not name
	@.venv/tool/bin/pip install --quiet --disable-pip-version-check uv
	.venv/tool/bin/uv pip sync --quiet --python $(BIN)/python requirements.lock
	@.venv/tool/bin/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup      ## the main job, end to end, on the built-in pictures
	dvc repro
	sam3-agent demo

loop-demo: setup ## two turns of the whole loop against real servers (SIZE=small: a hundred pictures, SIZE=middle: 600, batches of 40)
	python -m flows.loop_demo --size $(or $(SIZE),full)

test: setup      ## all tests
	lint-imports
	pytest

lint: setup      ## style and types
	ruff check . && ruff format --check . && mypy sam3 src flows

clean:           ## remove what runs have made (not the environment)
	rm -rf data/raw data/inbox data/inbox_truth.json data/saco data/splits models outputs reports mlflow.db mlruns
