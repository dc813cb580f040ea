# Two commands, each of which sets up .venv by itself: make train, make test.
# Another interpreter is used with make PYTHON=python3.13, in an environment of its own, .venv-python3.13;
# an existing environment with make VENV=path; some tests only are run with make test TESTS="tests/ops".
PYTHON ?= python3
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
TESTS ?= tests

.PHONY: train test torture lint clean

train: $(VENV)/.installed
	$(BIN)/python -m experiments.train --preset=mnist

test: $(VENV)/.test-installed lint
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile $(TESTS)

torture: $(VENV)/.test-installed
	$(BIN)/python -m tests.torture

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: cnn_jax needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; choose another with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.test-installed: setup.cfg constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf .venv .venv-* .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
