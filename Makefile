# Everything a newcomer needs: `make demo`, `make test`. Each target makes what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow lint docs leaderboard bench clean

demo: $(READY)
	$(BIN)/ibench demo

test: lint
	$(BIN)/python -m pytest

test-slow: $(READY)
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/mkdocs build --strict

# The records of the bundled tasks and the page made of them, both committed.
leaderboard: $(READY)
	$(BIN)/ibench run --suite bundled --bridge --ckpt examples/digits_bind/digits_bind_encoder.py:make_encoder --out results
	$(BIN)/ibench leaderboard results --out leaderboards

# Those of benchmarks/ that need nothing beside ibench; docs/performance.md has the commands of all.
bench: $(READY)
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/text.py
	$(BIN)/python benchmarks/scale.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) dist site
