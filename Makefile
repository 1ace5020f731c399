# One command runs the main job (`make demo`), one passes the tests (`make test`); both install what they need.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
# uv from the PATH, or one of our own in .tooling.
UV := $(shell command -v uv 2>/dev/null || echo .tooling/bin/uv)
BIN := .venv/bin
# Test processes. Each starts its own Kafka and PostgreSQL; most tests wait more than they compute.
WORKERS ?= 4
WHEEL := --frozen --no-editable --reinstall-package gsc-stream --quiet

.PHONY: help demo test lint types imports unit tests bench-quota bench-halt bench-backpressure bench-limiter dashboards chart build format install install-demo clean

help: ## Tell what there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 20

demo: install-demo ## Start Kafka, PostgreSQL and the services, sync 150 days, check every row
	$(BIN)/gsc-stream demo

test: install lint types imports tests ## All checks and all tests, on the installed wheel

lint: install ## Style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install ## mypy, strict
	$(BIN)/mypy

imports: install ## Imports go down only
	$(BIN)/lint-imports

unit: install ## The tests without servers
	$(BIN)/pytest tests/unit tests/contracts

tests: install ## All tests
	GSC_TEST_INSTALLED=1 $(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal

bench-quota: install ## Calls a minute at the quota, through a join, a leave and a kill (10 min)
	$(BIN)/python -m bench quota

bench-halt: install ## From a halt to the last call started, fifty times (4 min)
	$(BIN)/python -m bench halt

bench-backpressure: install ## The sink stopped for a minute (2 min)
	$(BIN)/python -m bench backpressure

bench-limiter: install ## What one check of the limiter costs
	$(BIN)/python -m bench limiter

build: install ## Wheel and source archive, in dist/
	$(UV) build --quiet

dashboards: install ## Make the dashboards anew from their panels
	$(BIN)/python -m lab.monitoring.dashboards helm/gsc-stream/dashboards

chart: install ## Put topics and settings of the code into the Helm chart
	$(BIN)/python -m lab.chart_values helm/gsc-stream

format: install ## Put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(UV)
	$(UV) sync --all-extras $(WHEEL)

install-demo: $(UV)
	$(UV) sync --extra lab --no-default-groups --inexact $(WHEEL)

# A virtual environment, or, on systems whose Python cannot make one, a folder.
.tooling/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 2; }
	$(PYTHON) -m venv .tooling 2>/dev/null && .tooling/bin/pip install --quiet uv \
	  || $(PYTHON) -m pip install --quiet --target .tooling uv

clean: ## Remove what was made
	rm -rf .venv .tooling dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
