# One command runs the main job (`make demo`), one passes the tests (`make test`); both install what they need.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
# uv from the PATH, or one of our own in .tooling.
UV := $(shell command -v uv 2>/dev/null || echo .tooling/bin/uv)
BIN := .venv/bin
# Test processes. Tests wait and compute in turns; with more on two cores, single tests exceed their deadlines.
WORKERS ?= 5
# The slow tests first, one by one to whoever is free; those of a group share a pipeline, and stay together.
PYTEST_PARALLEL = --numprocesses $(WORKERS) --dist loadgroup tests/e2e tests/deploy tests/integration tests/contracts tests/unit
WHEEL := --frozen --no-editable --reinstall-package gsc-stream --quiet

.PHONY: help demo test lint types imports unit tests coverage bench-quota bench-halt bench-backpressure bench-isolation bench-latency bench-limiter bench-page bench-planning bench-silence bench-throughput bench-sink bench-peers bench-growth benchmarks-doc dashboards chart catalog-schema build format install install-demo clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 20

demo: install-demo ## Start Kafka, PostgreSQL and the services, sync 150 days, compare every row
	$(BIN)/gsc-stream demo

test: install lint types imports tests ## Run all checks and all tests, on the installed wheel

lint: install ## Check formatting and style with ruff
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install ## Check types with mypy, strict
	$(BIN)/mypy

imports: install ## Check that imports go down only, with import-linter
	$(BIN)/lint-imports

unit: install ## Run the unit and contract tests, which need no servers
	$(BIN)/pytest tests/unit tests/contracts

tests: install ## Run all tests
	GSC_TEST_INSTALLED=1 $(BIN)/python tests/support/with_servers.py $(BIN)/pytest $(PYTEST_PARALLEL)

bench-quota: install ## Measure calls a minute at the quota, through a join, a leave and a kill (10 min)
	$(BIN)/python -m bench quota

bench-halt: install ## Measure the time from a halt to the last call started, 50 times (4 min)
	$(BIN)/python -m bench halt

bench-backpressure: install ## Measure the queues while the sink is stopped for a minute (2 min)
	$(BIN)/python -m bench backpressure

bench-isolation: install ## Measure credentials at their quota while one of them is in trouble (30 min)
	$(BIN)/python -m bench isolation

bench-limiter: install ## Measure the cost of a check of the rate limiter, and of a wake and a status with 5,000 properties
	$(BIN)/python -m bench limiter

bench-silence: install ## Measure what happens when PostgreSQL, then Kafka, goes silent (6 min)
	$(BIN)/python -m bench silence

bench-planning: install ## Measure a request that plans a million pages, and the outbox with as many pending (5 min)
	$(BIN)/python -m bench planning

bench-sink: install ## Measure the sink beside COPY and other ways to write the same rows (2 min)
	$(BIN)/python -m bench sink

bench-page: install ## Measure the fetcher's CPU time for a full page
	$(BIN)/python -m bench page

bench-throughput: install ## Measure rows a second: new, again, changed, two of each service (5 min)
	$(BIN)/python -m bench throughput

bench-latency: install ## Measure the time from the API's answer to the committed page, at half load (3 min)
	$(BIN)/python -m bench latency

bench-peers: install ## Measure the same days by Airbyte's source, Singer's tap, and ours (10 min)
	$(BIN)/python -m bench peers

bench-growth: install ## Measure the CPU time of a page with 1 to 10,000 properties, 1 to 4 fetchers, 1 million pages pending (25 min)
	$(BIN)/python -m bench growth

benchmarks-doc: install ## Write the overview of the results, with plots, into docs/benchmarks.md
	$(BIN)/python -m bench.overview

coverage: install ## Measure lines and branches: the pure modules by unit and contract tests, everything by all tests (15 min)
	$(BIN)/coverage erase
	PYTHONPATH=. $(BIN)/coverage run -m pytest -q tests/unit tests/contracts
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under 90 --include "$$($(BIN)/python tests/support/pure_modules.py)"
	PYTHONPATH=. $(BIN)/python tests/support/with_servers.py $(BIN)/coverage run --append -m pytest -q $(PYTEST_PARALLEL)
	$(BIN)/coverage combine --quiet --append
	$(BIN)/coverage report --fail-under 90

build: install ## Build the wheel and the source archive, in dist/
	$(UV) build --quiet

dashboards: install ## Generate the Grafana dashboards from lab/monitoring
	$(BIN)/python -m lab.monitoring.dashboards helm/gsc-stream/dashboards

chart: install ## Generate the parts of the Helm chart that come from the code: topics and settings
	$(BIN)/python -m lab.chart_values helm/gsc-stream

catalog-schema: install ## Generate the JSON Schema of the catalog
	$(BIN)/python -m pipeline.catalog_schema docs/catalog.schema.json

format: install ## Format the code and fix its style
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

clean: ## Remove everything that these targets create
	rm -rf .venv .tooling dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
