# make fit    sets up .venv and trains:  make fit ARGS="--data.root DIR --trainer.max_epochs 5"
# make test   sets up .venv and runs every check and test
# make coverage  all tests, and which lines of the package none of them runs
# make quick  the checks and the everyday tests, for every save
# make docs   builds the documentation into site/; open site/index.html
# make reports  the checks of users' reports, where ../shared has them: minutes, for each has a time limit and runs alone

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Without ensurepip (Debian keeps it in a package of its own) the system's pip installs into the environment.
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check install --quiet --constraint constraints.txt
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

.PHONY: fit test quick reports check docs coverage clean

fit: $(VENV)/installed
	$(BIN)/lightning-lp fit $(ARGS)

test: check
	$(TESTS)

quick: check
	$(TESTS) -m "not slow"

reports: $(VENV)/installed-dev
	$(TESTS) --numprocesses 0 -m reports tests/test_reports.py

coverage: $(VENV)/installed-dev
	$(TESTS) --cov --cov-report term-missing:skip-covered --cov-fail-under 95

check: $(VENV)/installed-dev docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(BIN)/python:
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) pip --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) pip --editable '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
