# `make` alone lists the targets. Each does its own set-up, into .venv.
# Paths are relative, or "$$PWD" in quotes: the checkout may lie in a folder with any name.

# The first Python that is new enough; `make PYTHON=/path/to/python3 ...` overrides it.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))

BIN := .venv/bin
READY := .venv/.ready
BUILD := $(BIN)/jupyter-book build book --config _config.yml --toc "$$PWD/_toc.yml" --path-output . -W --keep-going
PAGE := _build/html/index.html
SOURCES := $(shell find fedshap -name '*.py')
# Workers of the test run: one per core, four at most (a chapter of its own keeps a core busy).
# `make PYTEST='-k shapley' unit` passes more on to pytest.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -lt 4 ] && echo $$n || echo 4)

RUN_TESTS := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# What the stored outputs were made with; `make CONSTRAINTS= ...` takes the newest versions instead.
CONSTRAINTS ?= book/constraints.txt

CHAPTERS ?= book/*.ipynb

# The matrices here are small: one thread each is faster, and workers do not fight for the cores.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help book site unit test check hooks dist benchmark lab outputs pins figure clean distclean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

book: $(READY) _build/executed  ## execute every chapter on this machine and build the book
	$(BUILD)
	@$(SHOW)

site: $(READY)  ## build the book from the stored outputs, executing nothing
	BOOK_EXECUTE=off $(BUILD)
	@$(SHOW)

unit: $(READY)  ## run the package's tests (under a minute on two cores)
	$(RUN_TESTS) --unit --durations 5 --durations-min 1 tests fedshap README.md CONTRIBUTING.md $(PYTEST)

test: check  ## run all tests: package, chapters, built pages
	$(RUN_TESTS) $(PYTEST)

check: $(READY)  ## lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

hooks: $(READY)  ## check what is committed, before each commit (pre-commit)
	$(BIN)/python -m pip install --quiet pre-commit
	$(BIN)/python -m pre_commit install

dist:  ## build wheel and sdist, install each on its own and test it
	PYTHON="$(PYTHON)" .ci/dist

benchmark: $(READY)  ## measure against other methods, and against the number of agents (a quarter of an hour)
	$(BIN)/python -m pip install --quiet --editable '.[benchmark]'
	$(BIN)/python tests/benchmarks/methods.py
	$(BIN)/python tests/benchmarks/scale.py
	$(BIN)/python tests/benchmarks/sampled.py
	$(BIN)/python tests/benchmarks/cooperative.py
	$(BIN)/python tests/benchmarks/custom.py

lab: $(READY)  ## open the chapters in JupyterLab
	$(BIN)/jupyter lab book

figure: $(READY)  ## draw the README's figure again
	$(BIN)/python book/_ext/draw_readme_figure.py

outputs: $(READY)  ## run the CHAPTERS named, or all, and store what they print
	$(BIN)/python -m nbconvert --to notebook --execute --inplace --coalesce-streams --ExecutePreprocessor.record_timing=False $(CHAPTERS)

pins: $(READY)  ## write down the versions that the stored outputs were made with
	$(BIN)/python book/_ext/pin_versions.py

clean:  ## remove what was built; .venv stays
	rm -rf _build build dist .pytest_cache .hypothesis
	find . -name .venv -prune -o \( -name __pycache__ -o -name .ruff_cache \) -type d -exec rm -rf {} +

distclean: clean  ## remove .venv as well
	rm -rf .venv

# ---- set-up ---------------------------------------------------------------------------------------

$(READY): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; say where it is: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(addprefix --constraint ,$(CONSTRAINTS)) --editable '.[all]'
	@touch $@

# Executed outputs are kept as long as the chapter's code is the same. They are also the package's
# and the tables', so a change of either drops them.
_build/executed: $(SOURCES) $(wildcard book/results/*) pyproject.toml
	rm -rf _build/.jupyter_cache _build/.doctrees
	@mkdir -p _build && touch $@

# Say where the book is, and open it where there is a screen.
define SHOW
echo; echo "The book is in $$PWD/$(PAGE)"; \
if [ -z "$$CI" ] && { [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname)" = Darwin ]; }; then \
	$(BIN)/python -c 'import pathlib, webbrowser; webbrowser.open(pathlib.Path("$(PAGE)").absolute().as_uri())' \
		>/dev/null 2>&1 || true; fi
endef
