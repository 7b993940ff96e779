# `make` lists what there is. Needs Python 3.11 or newer, nothing else.
.DEFAULT_GOAL := help
.PHONY: help demo run test chaos lint types bench clean browser
.NOTPARALLEL:

PYTHON ?= $(shell scripts/find-python)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
TORCH := $(shell grep '^torch==' requirements.txt)

help: ## list these
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: .venv/.run ## the page, with the demo job already on its way
	@exec $(BIN)/python app.py --demo

run: .venv/.run ## the page
	@exec $(BIN)/python app.py

test: .venv/.dev browser ## all tests
	$(BIN)/python -m pytest --ignore=tests/browser
	@# A process of their own: Playwright's event loop stays in the thread that other tests start servers in.
	$(BIN)/python -m pytest tests/browser

chaos: .venv/.dev ## 40 faults over a queue of real jobs: a quarter of an hour (SEED=N repeats one)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED))

lint: .venv/.dev ## style, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/.dev ## mypy
	$(BIN)/mypy

bench: .venv/.dev browser ## the figures of docs/benchmarks.md
	$(BIN)/python -m bench

clean: ## remove the environment and all caches; jobs stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

browser:
	@scripts/browser

.venv/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found. Install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "This Python can make no environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

# torch first: the rest then finds it, and its download is the longest by far.
.venv/.run: requirements.txt | .venv/.made
	@echo "Installing what the page needs (minutes the first time) ..."
	@$(PIP) $(TORCH)
	@$(PIP) -r requirements.txt
	@touch $@

.venv/.dev: requirements-dev.txt .venv/.run
	@echo "Installing what the tests need ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@
