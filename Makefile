# Everything a contributor runs; CI runs the same (.ci/run). `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEER_STAMP := $(VENV)/.installed-peer
BROWSER_STAMP := $(VENV)/.installed-browser
CLUSTERS_STAMP := $(VENV)/.installed-clusters
DOCS_STAMP := $(VENV)/.installed-docs
FUZZ_STAMP := $(VENV)/.installed-fuzz
LOWEST := .venv-lowest
LOWEST_STAMP := $(LOWEST)/.installed
FUZZ ?= --minutes 10 --processes 2
GUIDED ?= csv jsonl yaml manifest
DEMO := runs/make-demo

# Containers often set it; every process would then compile thousands of modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types schema pytest test-slow test-peer test-browser test-clusters test-environments test-lowest test-docs docs bench fuzz fuzz-guided clean torture

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## install the package and its tools into .venv, at the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup  ## compress a small generated example and classify a sentence with the student
	rm -rf $(DEMO)
	$(BIN)/hrkd compress demo --run.output $(DEMO)
	$(BIN)/hrkd predict $(DEMO)/student --domain books "the story was gripping and the ending was wonderful"

test: lint types pytest  ## lint, types and tests: what must pass before a change is merged

lint: setup  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## put imports and layout in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup  ## check types
	$(BIN)/mypy

schema: setup  ## write docs/recipe.schema.json anew, after a change of the fields of the recipe
	$(BIN)/hrkd recipe --schema > docs/recipe.schema.json

pytest: setup  # a process for each core, each with one thread: threads that wait for each other lose most
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-slow: setup  ## the cases that make test leaves out for their time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses auto --dist worksteal

test-peer: $(PEER_STAMP)  ## compare the graph with another implementation of it
	$(BIN)/python -m pytest -m peer

$(PEER_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev,peer]'
	touch $@

test-browser: $(BROWSER_STAMP)  ## drive the page of hrkd serve in Chromium (Debian: apt install chromium)
	$(BIN)/python -m pytest -m browser

$(BROWSER_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev,browser]'
	touch $@

test-environments: setup  ## run exports in new environments, without hrkd
	$(BIN)/python -m pytest -m environments

test-lowest: $(LOWEST_STAMP)  ## the tests with the lowest versions that pyproject.toml allows, in .venv-lowest
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest --numprocesses auto --dist loadfile

# uv finds the lowest version of what hrkd asks for itself; pip brings what those ask for, as new as they allow. A
# machine's own constraints would hold other versions.
$(LOWEST_STAMP): pyproject.toml
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip compile --quiet --no-deps --no-header --no-annotate --resolution lowest-direct --extra dev \
		--python $(LOWEST)/bin/python --output-file $(LOWEST)/constraints.txt pyproject.toml
	PIP_CONSTRAINT= $(LOWEST)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check \
		-c $(LOWEST)/constraints.txt -e '.[dev]'
	touch $@

test-clusters: $(CLUSTERS_STAMP)  ## label tables on clusters of Ray and of Spark (Java 17 for the latter)
	$(BIN)/python -m pytest -m clusters

$(CLUSTERS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev,ray,spark]'
	touch $@

test-docs: $(DOCS_STAMP)  ## run every block of code of the README and the documentation, and the notebooks
	$(BIN)/python -m pytest -m docs $(PAGES)

docs: $(DOCS_STAMP)  ## build the site in docs/_build; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	touch $@

bench: $(PEER_STAMP)  ## measure steps and epochs against a plain loop and TextBrewer (half an hour on an idle machine)
	@$(BIN)/python benchmarks/bench.py
	@$(BIN)/python benchmarks/peer.py
	@mkdir -p runs && $(BIN)/python benchmarks/scaling.py --plot runs/scaling.svg

torture: setup  ## kills, damage, full disks, lost processes and hostile input at every place (half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m torture --timeout 1800 --numprocesses auto --dist worksteal --durations 0
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile tests/torture tests/fuzz

fuzz: setup  ## hostile and broken input to every reader, for ten minutes in two processes (FUZZ="--inputs 1000000")
	mkdir -p runs && cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m fuzz.campaign $(FUZZ) \
		--report ../runs/fuzz.md --faults ../runs/fuzz-faults --seeds ../runs/fuzz-seeds

fuzz-guided: $(FUZZ_STAMP)  ## the same, guided by coverage (GUIDED="csv yaml"); what it finds, make fuzz begins with
	mkdir -p runs && cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m fuzz.guided $(GUIDED) \
		--seeds ../runs/fuzz-seeds --faults ../runs/fuzz-faults

$(FUZZ_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev,fuzz]'
	touch $@

clean:  ## remove environments, caches and built files; runs/ stays
	rm -rf $(VENV) $(LOWEST) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
