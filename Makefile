# make demo    install into .venv, then run the main job on the files in examples/
# make test    install into .venv, then run the whole test suite
# make lint    check style and types
#
# VENV chooses another environment, PYTHON the interpreter that makes it, ARGS goes on to pytest or the demo.

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint install clean
.DEFAULT_GOAL := install

install: $(STAMP)

$(BIN)/python:
	"$(PYTHON)" -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "ModaVerse needs Python 3.11 or newer: make PYTHON=/path/to/python")'
	"$(PYTHON)" -m venv "$(VENV)"

# torch comes first and by its exact version, so that nothing after it can bring another one.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -e '.[dev,train,quantized,ray]' -c constraints.txt
	@touch "$@"

demo: $(STAMP)
	"$(BIN)/python" examples/demo.py $(ARGS)

test: $(STAMP)
	"$(BIN)/python" -m pytest $(ARGS)

lint: $(STAMP)
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
