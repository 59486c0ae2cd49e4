# Two commands: `make demo` sets up and runs the main job, `make test` runs the tests.
PYTHON ?= $(shell command -v python3.13 || command -v python3.12 || command -v python3.11 || command -v python3)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := False
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help setup demo test lint check clean
help:            ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: .venv/ready   ## the environment, from requirements.lock

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; found $$($(PYTHON) --version)"; exit 1; }
	@$(PYTHON) -m venv .venv 2>/dev/null || { echo "python's venv module is missing: installing python3-venv"; apt-get update -qq && apt-get install -yqq python3-venv && $(PYTHON) -m venv .venv; }
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup      ## the main job, end to end, on the built-in pictures
	dvc repro
	sam3-agent demo

test: setup      ## all tests
	lint-imports
	pytest

lint: setup      ## style and types
	ruff check . && ruff format --check . && mypy sam3 src flows

clean:           ## remove what runs have made (not the environment)
	rm -rf data/raw data/inbox data/inbox_truth.json data/saco data/splits models outputs reports mlflow.db mlruns
