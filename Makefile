# make setup | quickstart | test | lint | bench | bench-legal | bench-inference | bench-train
PYTHON ?= python3
BIN := .venv/bin
.PHONY: setup quickstart test lint bench bench-legal bench-inference bench-train clean

setup: .venv/ready

# torch first and alone: its exact version is a CPU build; a range could bring a CUDA build of several GB
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip setuptools wheel -c constraints.txt
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --no-build-isolation -e '.[dev]' -c constraints.txt
	@touch $@

quickstart: setup
	$(BIN)/factory build cooking
	@echo
	@echo "Open the demo:  $(BIN)/factory demo cooking"

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/quality.py

bench-legal: setup
	$(BIN)/python benchmarks/legal.py

# needs a built run: factory build cooking
bench-inference: setup
	$(BIN)/python benchmarks/inference.py

# an hour on an idle machine; LLAMAFACTORY=path of llamafactory-cli adds that side
bench-train: setup
	$(BIN)/python benchmarks/train.py $(if $(LLAMAFACTORY),--llamafactory $(LLAMAFACTORY))

clean:
	rm -rf .venv build dist *.egg-info
