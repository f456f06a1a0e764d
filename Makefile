# make demo: trains a network on handwritten digits.  make test: runs the tests.
# Both install what they need into a virtual environment of their own.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint demos bench clean

demo: .venv/demo
	$(BIN)/python demos/digits.py

test: .venv/test
	$(BIN)/python -m pytest

lint: .venv/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demos: .venv/demo
	$(BIN)/python demos/digits.py --epochs 2 --hidden 8
	$(BIN)/python demos/moons.py --steps 5

bench: .venv/test
	$(BIN)/python benchmarks/eager.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/%: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	touch $@

clean:
	rm -rf .venv build out
