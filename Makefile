# Two commands, each of which sets up .venv by itself: make train, make test.
# An existing environment is used with make VENV=path; another interpreter with make PYTHON=python3.12.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: train test lint clean

train: $(VENV)/.installed
	$(BIN)/python -m experiments.train --flagfile=experiments/presets/mnist.flags

test: $(VENV)/.test-installed lint
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

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
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
