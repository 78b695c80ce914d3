# Each target sets up what it needs in .venv first. `make eval` on a fresh clone needs Python 3.11 or newer and no more.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
INPUTS := pyproject.toml constraints.txt Makefile
SHAPES := build/shapes

.PHONY: eval test test-types test-all lint bench leaderboard api mini clean
.DELETE_ON_ERROR:

eval: $(VENV)/.run
	$(BIN)/gsbench eval --model pointnet++:quick --data mini --out results

test: $(VENV)/.dev $(VENV)/.gl
	$(BIN)/python -m pytest --numprocesses 2

# The same with the types and shapes of every annotated function checked as it is called.
test-types: $(VENV)/.dev $(VENV)/.gl
	GSBENCH_TYPE_CHECKS=1 $(BIN)/python -m pytest --numprocesses 2

# With types checked and with what is slower: kills, long simulations and mutations, benchmarks once each, and, where
# GSBENCH_MODELNET10 names them, real meshes.
test-all: $(VENV)/.dev $(VENV)/.gl
	GSBENCH_TYPE_CHECKS=1 $(BIN)/python -m pytest --numprocesses 2 -m "not gpu"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev $(VENV)/.gl
	$(BIN)/python -m pytest tests/bench --benchmark-enable --benchmark-only -m "not gpu"

# API pages from the docstrings, in build/api.
api: $(VENV)/.dev
	$(BIN)/pdoc --output-directory build/api gsbench

leaderboard: $(VENV)/.run
	$(BIN)/gsbench leaderboard

# Rebuilds the embedded data set from the procedural shapes.
mini: $(VENV)/.dev
	rm -rf $(SHAPES) build/mini
	$(BIN)/python -m gsbench.meshes.shapes $(SHAPES) --train 24 --test 12
	$(BIN)/gsbench build --meshes $(SHAPES) --out build/mini --preset mini
	$(BIN)/gsbench verify build/mini
	rm -rf gsbench/mini
	mv build/mini gsbench/mini

clean:
	rm -rf $(VENV) build results

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "gsbench needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V); try make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# --no-compile: of the thousands of modules that come along, a run imports a few, and those are compiled then.
$(VENV)/.run: $(VENV)/.made $(INPUTS)
	$(PIP) --no-compile --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) --no-compile --editable '.[dev]'
	@touch $@

# Headless OpenGL is a system package: installed where that is allowed, else the line to type is shown.
$(VENV)/.gl: $(VENV)/.dev
	@line="$$($(BIN)/gsbench doctor --fix-line egl)"; \
	if [ -z "$$line" ]; then touch $@; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then echo "$$line"; sh -c "$$line" && touch $@; \
	else echo "No headless OpenGL here, so pyrender, the referee of our renderer, cannot draw. To mend it, as root: $$line"; fi
