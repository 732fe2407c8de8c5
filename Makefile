# Every task of this repository. CI runs these targets and nothing else.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; choose another with `make PYTHON=/path/to/python3`.
PYTHON ?= $(shell for each in python3.11 python3 python3.12 python3.13 python3.14; do \
	command -v $$each >/dev/null && $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	&& echo $$each && break; done)
UV := $(VENV)/uv

.PHONY: help install up demo test test-faults check format docs endurance bench lock clean tools

help: ## Show this list.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
	while IFS=$$'\t' read -r target meaning; do printf '  make %-11s %s\n' "$$target" "$$meaning"; done

install: $(VENV)/.installed ## Install vreg and its tools into .venv, exactly as locked; instant when nothing changed.
	@:

up: install ## Run all of vreg on this machine; settings as in README.md.
	@exec $(BIN)/vreg up

demo: install tools ## See everything work against emulated clouds; KEEP=1 leaves it running.
	@exec $(BIN)/python -m tests.demo $(if $(filter 1,$(KEEP)),--keep)

test: install tools ## Run all tests, real clients included.
	@exec $(BIN)/pytest -n 3 --dist loadfile

test-faults: install tools ## Run the full fault suite of the pull path; prints its figures; takes minutes.
	@VREG_TEST_FULL=1 exec $(BIN)/pytest -o timeout=840 --durations=8 tests/faults

check: install ## Look at the code without running it: format, lint, types, import rules.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Format the code and mend what can be mended.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install ## Write docs/providers, docs/asyncapi.yaml and the kinds of events in docs/audit.md.
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/audit_pages.py

endurance: install tools ## Pull through twenty ends of every cloud's tokens, with two brokers; takes minutes.
	@exec $(BIN)/python -m tests.endurance

bench: install tools ## Measure against docker-registry and nginx; prints ratios.
	@exec $(BIN)/python -m tests.bench

lock: $(VENV)/.python ## Write constraints.txt from pyproject.toml's ranges; UPGRADE=1 takes newer versions too.
	test -x $(UV)/bin/uv || { $(BIN)/python -m venv $(UV) && $(UV)/bin/pip install --quiet uv; }
	$(UV)/bin/uv pip compile pyproject.toml --all-extras --generate-hashes --python-version 3.11 --universal \
		--no-emit-index-url --no-annotate --no-header --quiet $(if $(filter 1,$(UPGRADE)),--upgrade) -o constraints.txt

clean: ## Remove what was built; never .vreg, which holds keys and a database.
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The programs that demo, test and bench drive: container clients, registries, PostgreSQL.
tools:
	@tests/install-tools

$(VENV)/.python:
	@tests/make-venv "$(PYTHON)" $(VENV)
	@touch $@

$(VENV)/.locked: constraints.txt $(VENV)/.python
	@echo "Installing what constraints.txt locks into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.locked
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
