# `make quickstart` and `make test` set themselves up: a virtual environment in .venv, dependencies as pinned.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt
# pip compiles nothing here, which saves a minute: so Python may keep what it has compiled, or every process would
# compile all of torch anew, for seconds.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help quickstart test test-services lint docs pictures clean

help:
	@echo "make quickstart   install, run sweeps/quickstart.yaml, show the paper's central result (5 minutes)"
	@echo "make test         install, run the tests"
	@echo "make test-services   those against real PostgreSQL, Slurm, ssh and Ray clusters: README.md lists what they need"
	@echo "make lint         install, check style (ruff) and types (mypy --strict)"
	@echo "make docs         install, build the documentation into build/docs; warnings are errors"
	@echo "make pictures     draw the pictures of README.md and the documentation anew"
	@echo "make clean        remove the virtual environment"

# pip itself first: the one that comes with Python 3.11 takes three times as long to find all versions.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "mica needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(INSTALL) --upgrade pip
	$(INSTALL) -e '.[dev]'
	@touch $@

# Beside whatever runs already: mica itself is not installed again.
.venv/services: .venv/installed
	$(INSTALL) --group services
	@touch $@

quickstart: .venv/installed
	$(BIN)/mica-sweep run sweeps/quickstart.yaml

# Three at a time, on two cores too: tests often wait for processes of their own.
test: .venv/installed
	$(BIN)/python -m pytest -n 3 --no-loadscope-reorder

# Not part of `make test`: they need root and some of Debian's packages, and fail without them.
test-services: .venv/services
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder tests/services

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed
	$(BIN)/sphinx-build -q -W --keep-going docs build/docs

pictures: quickstart
	cp results/quickstart/figures/accuracy-digits-vgg11.png docs/quickstart.png

clean:
	rm -rf .venv
