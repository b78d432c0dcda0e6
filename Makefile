# Needs Python 3.11 to 3.13, git and make; everything else is installed into .venv.

PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$name && break; done)
MODELS ?= examples/embed examples/fraud-xgboost examples/echo

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALL_FROM := pyproject.toml constraints.txt

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: $(VENV)/run.stamp ## Run Headrace here with the example models, until Ctrl-C
	$(BIN)/headrace up $(MODELS)

.PHONY: test
test: $(VENV)/dev.stamp ## Run the tests (PYTEST_ARGS="-k name" for some)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: chaos
chaos: $(VENV)/dev.stamp ## Run the campaigns in full size (hours; figures in chaos-report.jsonl)
	CHAOS_SIZE=full CHAOS_REPORT=$(abspath chaos-report.jsonl) $(BIN)/python -m pytest \
		tests/chaos $(wildcard tests/simulation) $(PYTEST_ARGS)

.PHONY: coverage
coverage: $(VENV)/dev.stamp ## Run the tests and show which lines they do not reach
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(PYTEST_ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

.PHONY: check
check: $(VENV)/dev.stamp ## Check format, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/dev.stamp ## Format, and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(VENV)/dev.stamp ## Measure, side by side with what it is compared to
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

.PHONY: clean
clean: ## Remove the environment and every cache; the data of `make up` stays
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache
	rm -rf .pytest_cache .ruff_cache build dist htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Headrace needs Python 3.11, 3.12 or 3.13 on the PATH." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The build backend comes from the same constraints as all else, so no build is isolated.
$(VENV)/run.stamp: $(INSTALL_FROM) | $(BIN)/python
	$(PIP) hatchling
	$(PIP) --no-build-isolation -e '.[server,worker,embedded,demo]'
	touch $@

$(VENV)/dev.stamp: $(INSTALL_FROM) | $(BIN)/python
	$(PIP) hatchling
	$(PIP) --no-build-isolation -e '.[dev]'
	touch $(VENV)/run.stamp $@
