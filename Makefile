# Two commands: `make demo` and `make test`. Each makes .venv when it is missing or outdated.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
# More options for the demo, such as ARGS="--ballots 1000 --kills writer"; for bench, ARGS=--quick.
ARGS ?=
# How many tests run at the same time: they wait more than they compute.
JOBS ?= 2
# How many runs of the simulator, each from its own seed.
SEEDS ?= 2000

.PHONY: help demo test lint bench simulate clean

help:
	@echo 'make demo      run an election on real processes while some of them are killed'
	@echo 'make test      check style, types and layers, then run all tests'
	@echo 'make bench     measure against floors and peers in the same run; JSON, then a table'
	@echo 'make simulate  the replication protocol in a hostile world, SEEDS=2000 times'
	@echo 'make clean     remove .venv and all caches'
	@echo 'PYTHON=python3.12 make test uses another Python (3.11 or later).'

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Python >= 3.11 is needed: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,examples]'
	@touch $@

.venv: $(READY)

demo: $(READY)
	$(BIN)/ballot demo $(ARGS)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

bench: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]' \
		|| echo 'supervisord and circus could not be installed: no figures of theirs' >&2
	$(BIN)/python -m benchmarks $(ARGS)

simulate: $(READY)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
