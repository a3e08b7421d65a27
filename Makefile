# Two commands set everything up:  make run   and   make test
# Tests have three levels: `make check` (2 minutes), `make test` (what CI runs), `make prove [PART=name]` (hours).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder
INSTALLED := $(VENV)/.installed

.PHONY: run check test fast-tests all-tests prove ui lint types clean
.DEFAULT_GOAL := run

# The main job: from the constitution to an aligned policy; prints the result table.
run: $(INSTALLED)
	$(BIN)/rlaif run
	@echo "Look around in the Dagster UI:  make ui"

# Lint, then types beside the fast tests: before each commit.
check: $(INSTALLED) lint
	@$(MAKE) --no-print-directory --jobs=2 types fast-tests

# Everything that CI runs: every law once, at its smallest size.
test: $(INSTALLED) lint
	@$(MAKE) --no-print-directory --jobs=2 types all-tests

fast-tests: $(INSTALLED)
	$(PYTEST) -m "not slow" --hypothesis-profile quick

all-tests: $(INSTALLED)
	$(PYTEST)

# The long proofs; each part keeps its table in docs/proofs.md.
prove: $(INSTALLED)
	$(BIN)/python -m proofs $(PART)

ui: $(INSTALLED)
	$(BIN)/rlaif ui

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(INSTALLED)
	$(BIN)/mypy

# The lock is complete, so pip resolves nothing (--no-deps): it holds one pin that pip would refuse, because dagster
# and dvc disagree about antlr4 (see docs/decisions/0001-antlr4.md). torch goes first, with what it needs itself.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
