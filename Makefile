# `make study` trains, judges and compares; `make test` runs the quick tests, `make test-all` all but
# those of minutes; `make docs` builds the documentation into site/. All need Python and make.
#     make study                                the synthetic set, generated here
#     make study DATA=crops                     a folder crops/{train,val}/CLASS, or crops/CLASS
#     make study DATA=crops STUDY=my.yaml       another study

PYTHON ?= python3
VENV ?= .venv
UV ?= uv
STUDY ?= studies/quickstart.yaml
STORE ?= drupe-store
SYNTHETIC := synthetic-cherries
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --no-compile -c constraints.txt

PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# The share that is asked for is that of both suites together.
ifdef COVERAGE
COUNTED := --cov --cov-report= --cov-fail-under=0
COUNTED_TOO := $(COUNTED) --cov-append
endif

# Containers often forbid Python to keep compiled modules. PyTorch has thousands, and without
# them every command would start 15 seconds late.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: study test test-all test-slow test-thorough coverage lint docs release lock
.DELETE_ON_ERROR:

# What is recommended becomes a bundle. That nothing can be recommended (exit code 1) is an answer.
ifdef DATA
study: $(VENV)/installed-train
	$(BIN)/drupe study run "$(STUDY)" --data "$(DATA)" --store "$(STORE)"
	@$(BIN)/drupe study deliver "$(STUDY)" --store "$(STORE)" --open || [ $$? = 1 ]
else
study: $(VENV)/installed-train $(SYNTHETIC)/truth.json
	$(BIN)/drupe study run "$(STUDY)" --data $(SYNTHETIC) --store "$(STORE)/synthetic"
	@$(BIN)/drupe study deliver "$(STUDY)" --store "$(STORE)/synthetic" --open || [ $$? = 1 ]
	@echo "On your own crops: make study DATA=my/crops"
endif

# The quick tests. They say what they didn't try.
test: $(VENV)/installed-dev
	$(PYTEST) $(COUNTED)

# Those that take longer, or a browser, a cluster, a tracker.
test-thorough: $(VENV)/installed-dev
	$(PYTEST) -m 'thorough and not slow' $(COUNTED_TOO)

# Both, with the lines that they reach counted.
test-all:
	$(MAKE) test COVERAGE=1
	$(MAKE) test-thorough COVERAGE=1
	$(MAKE) coverage

# Less than pyproject.toml asks for is an error; lines: `python -m coverage report -m`.
coverage: $(VENV)/installed-dev
	$(BIN)/python -m coverage report

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Strict: a link to a page or a heading that there is not is an error.
docs: $(VENV)/installed-dev
	$(BIN)/python -m zensical build --strict --clean

$(SYNTHETIC)/truth.json: | $(VENV)/installed-train
	$(BIN)/drupe data synth $(SYNTHETIC) --images 1500

# Wheel and sdist in dist/, tried in bare environments; a bill of materials, known vulnerabilities.
release: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python release/make_release.py

# What constraints.txt pins, with the hashes of all published files. Needs uv; names no index.
lock:
	$(UV) pip compile --quiet pyproject.toml --extra dev --constraint constraints.txt --universal \
	    --python-version 3.11.7 --generate-hashes --no-header --no-annotate --no-emit-index-url \
	    --output-file constraints-hashed.txt

# The stamps make pip run again only when what it would install has changed.
$(VENV)/installed-train: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing drupe[train] into $(VENV): PyTorch is large, so the first time takes minutes."
	$(PIP) -e '.[train]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing drupe[dev] into $(VENV): PyTorch is large, so the first time takes minutes."
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/installed-train

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Drupe needs Python 3.11 or newer, got: $$($(PYTHON) --version 2>&1)." \
	         "Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) can't make virtual environments: on Debian or Ubuntu," \
	         "apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
