# make demo: trains a network on handwritten digits.  make test: runs the tests.
# Both install what they need into a virtual environment of their own.
# make mutants: changes the rules and the engine in a thousand places, and sees whether the tests notice (an hour).
# make bench: measures the speed beside PyTorch, JAX, CasADi, XAD, autograd and micrograd 0.1.0, which it installs.
# make test-torch: runs the tests that compare with PyTorch, which it installs.

PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: demo test test-torch lint demos bench mutants clean

demo: .venv/demo
	$(BIN)/python demos/digits.py

test: .venv/test
	$(BIN)/python -m pytest

test-torch: .venv/test .venv/torch
	$(BIN)/python -m pytest tests/test_expressions.py tests/test_*_torch.py

lint: .venv/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demos: .venv/demo
	$(BIN)/python demos/digits.py --epochs 2 --hidden 8
	$(BIN)/python demos/moons.py --steps 5
	$(BIN)/python demos/optimizers.py --steps 20
	$(BIN)/python demos/descent.py --epochs 3
	$(BIN)/python demos/vanishing.py --steps 1
	$(BIN)/python demos/regularise.py --epochs 3
	$(BIN)/python demos/gpt.py --steps 20
	$(BIN)/jupyter-execute demos/tour.ipynb

bench: build/peers/installed
	build/peers/bin/python benchmarks/eager.py
	build/peers/bin/python benchmarks/compiled.py --plot out/compiled.png

mutants: .venv/mutants
	$(BIN)/python benchmarks/mutants.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/torch: .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	touch $@

build/peers/installed: pyproject.toml
	$(PYTHON) -m venv build/peers
	build/peers/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[fast]" \
		"$(TORCH)" autograd casadi jax matplotlib xad
	touch $@

.venv/%: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	touch $@

clean:
	rm -rf .venv build out
