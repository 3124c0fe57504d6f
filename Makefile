# Everything runs from a fresh machine with Python 3.11 or newer and nothing else.
PYTHON ?= python3
SEED ?= 0
TASK ?= rotation
BIN := .venv/bin
PLUGINS := $(wildcard plugins/ssl4rl-task-*)

.PHONY: install test lint demo clean

install: .venv/.installed

# One resolver call for all, so that versions agree; again when a pyproject changes.
.venv/.installed: pyproject.toml $(addsuffix /pyproject.toml,$(PLUGINS))
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,embedded,dev]' $(addprefix -e ./,$(PLUGINS))
	touch $@

test: install lint
	$(BIN)/python -m pytest -q -n 2

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

demo: install
	$(BIN)/python -m ssl4rl_core.demo --task $(TASK) --seed $(SEED)

clean:
	rm -rf .venv runs build dist
