# `make demo` and `make test` need Python 3.10 or newer, pip and make; everything else goes into .venv.
# ARGS adds options: make demo ARGS="--train.epochs 12".

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test coverage lint format docs soak clean

demo: .venv/.installed
	$(BIN)/pixpnet demo $(ARGS)

test: .venv/.installed-dev
	$(BIN)/python -m pytest -n auto $(ARGS)

# The same, with the shapes of all rooms checked, and which lines of src no test reaches; it takes longer.
coverage: .venv/.installed-dev
	SHAPE_CHECKS=all $(BIN)/python -m pytest -n auto --cov --cov-report= $(ARGS)
	$(BIN)/python -m coverage report --fail-under=90

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/codespell *.md docs src scripts benchmarks configs

format: .venv/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documentation, in build/docs; any warning, dead link or dead anchor ends it. To read it with its search:
# python3 -m http.server -d build/docs
docs: .venv/.installed-docs
	$(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees docs build/docs

# Commands killed at random moments, for half an hour; ARGS="--minutes 5" is shorter.
soak: .venv/.installed-dev
	$(BIN)/python benchmarks/soak.py $(ARGS)

clean:
	rm -rf .venv build dist htmlcov .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -e .
	touch $@

.venv/.installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	touch .venv/.installed $@

.venv/.installed-docs: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[docs]'
	touch .venv/.installed $@
