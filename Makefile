# make test    every check, with all its own set-up (Debian 12 as root; elsewhere it says what is missing)
# make demo    splits a real image and shows the result: IMG=NAME, else one built from the distribution's packages
# make unit lint types    need a C compiler and Python's headers, but neither root nor podman
# make fuzz    tries every parser of untrusted bytes for a minute
# make tools e2e compat bench, each with its set-up

BIN := .venv/bin
export PIP_NO_INPUT := 1
# One process for each processor, each with storages and servers of its own.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	-o tmp_path_retention_count=1 -o tmp_path_retention_policy=failed
# make unit ARGS='-k rpm'
ARGS ?=

.PHONY: test setup packages lint format types docs unit fuzz tools e2e compat bench demo clean

test: setup lint types docs
	$(PYTEST) -m "not compat" $(ARGS)

setup: packages
	@$(MAKE) --no-print-directory $(BIN)/.dev

packages:
	@tools/install-packages test

$(BIN)/.dev: pyproject.toml tools/make-venv hatch_build.py $(shell find frontend -name '*.[ch]')
	tools/make-venv dev
	@touch $@

lint: $(BIN)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/vulture frontend
	$(BIN)/vulture frontend tests benchmarks hatch_build.py

format: $(BIN)/.dev
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

types: $(BIN)/.dev
	$(BIN)/mypy
	MYPYPATH=frontend:tests $(BIN)/mypy tests/images tests/support

docs: $(BIN)/.dev
	$(BIN)/python tools/generate.py --check
	$(BIN)/mkdocs build --quiet

unit: $(BIN)/.dev
	$(PYTEST) tests/unit tests/property $(ARGS)

fuzz: export RECHUNK_FUZZ_SECONDS ?= 60
fuzz: $(BIN)/.dev
	$(PYTEST) --dist load tests/property/test_parsers.py $(ARGS)

tools: setup
	$(PYTEST) tests/tools $(ARGS)

e2e: setup
	$(PYTEST) tests/e2e $(ARGS)

compat: setup
	@tools/install-packages compat
	$(PYTEST) tests/compat -m compat $(ARGS)

bench: setup
	$(BIN)/python benchmarks/build.py $(ARGS)

demo:
	@tools/demo $(IMG)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find frontend -name '*.so' -delete
