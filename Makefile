# make demo: trains a network on handwritten digits.  make test: runs the tests.
# Both install what they need into a virtual environment of their own.
# make test-lowest: runs the tests and the demos with the oldest libraries that pyproject.toml allows.
# make package: builds the wheel and the source distribution, and runs the tests of the unpacked source.
# make mutants: changes the rules and the engine in 3,900 places, and sees whether the tests notice (an hour).
# make bench: measures the speed beside PyTorch, JAX, CasADi, XAD, autograd and micrograd 0.1.0, which it installs.
# make test-torch: runs the tests that compare with PyTorch, which it installs.

PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
SHELL := bash
# Tests run on all cores. Those of a file run one after the other, because they share what is slow to set up.
PYTEST := -m pytest -n auto --dist loadfile

# Says what is installed for $(1) into the virtual environment $(2), and installs $(3): a line for each library. Pip's
# warnings are left out; its errors are shown.
install = @set -o pipefail; echo "Installing what $(1) needs into $(2). The first time, this takes a minute …"; \
	$(2)/bin/python -m pip install --disable-pip-version-check --no-color --progress-bar off $(3) \
	2> >(grep -v '^WARNING' >&2) | { grep --line-buffered -oE '^(Collecting [^ ]*|Installing [a-z ]*)' || true; }

.PHONY: demo test test-lowest test-torch lint demos bench mutants package clean

demo: .venv/demo
	$(BIN)/python demos/digits.py

test: .venv/test
	$(BIN)/python $(PYTEST)

test-lowest: BIN := build/lowest/bin
test-lowest: LOWEST = $(BIN)/python -m uv pip install --python $(BIN)/python --resolution lowest-direct
test-lowest:
	@echo "Creating the virtual environment build/lowest …"
	@rm -rf build/lowest
	@$(PYTHON) -m venv build/lowest
	$(call install,the test of the lowest versions,build/lowest,uv)
	$(LOWEST) --editable ".[test]"
	$(BIN)/python $(PYTEST)
	$(LOWEST) --editable ".[demo]"
	$(MAKE) -o .venv/demo demos BIN=$(BIN)

test-torch: .venv/test .venv/torch
	$(BIN)/python $(PYTEST) tests/test_expressions.py tests/test_*_torch.py

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
	set -e; for file in demos/*/*.py; do $(BIN)/python $$file --quick; done
	$(BIN)/jupyter-execute demos/tour.ipynb

bench: build/peers/installed
	build/peers/bin/python benchmarks/eager.py
	build/peers/bin/python benchmarks/compiled.py --plot out/compiled.png
	build/peers/bin/python benchmarks/elementary.py
	build/peers/bin/python benchmarks/results.py

mutants: .venv/mutants
	$(BIN)/python benchmarks/mutants.py

package: .venv/test
	$(call install,the build,.venv,build)
	rm -rf build/package
	$(BIN)/python -m build --outdir build/package .
	tar -xzf build/package/*.tar.gz -C build/package
	cd build/package/micrograd-*/ && PYTHONPATH=. $(CURDIR)/$(BIN)/python $(PYTEST)

.venv/bin/python:
	@echo "Creating the virtual environment .venv …"
	@$(PYTHON) -m venv .venv

.venv/torch: .venv/bin/python
	$(call install,the comparison with PyTorch,.venv,"$(TORCH)")
	@touch $@

build/peers/installed: pyproject.toml
	@echo "Creating the virtual environment build/peers …"
	@$(PYTHON) -m venv build/peers
	$(call install,make bench,build/peers,--editable ".[fast]" "$(TORCH)" autograd casadi hypothesis jax matplotlib mpmath pytest scikit-learn xad)
	@touch $@

.venv/%: .venv/bin/python pyproject.toml
	$(call install,make $*,.venv,--editable ".[$*]")
	@touch $@

clean:
	rm -rf .venv build out
