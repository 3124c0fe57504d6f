# Everything runs from a fresh machine with Python 3.11 or newer and nothing else.
PYTHON ?= python3
SEED ?= 0
TASK ?= rotation
BIN := .venv/bin
PLUGINS := $(wildcard plugins/ssl4rl-task-*)

.PHONY: install test lint docs demo demo-graph clean

install: .venv/.installed

# One resolver call for all, so that versions agree; again when what is asked for changes.
.venv/.installed: Makefile pyproject.toml $(addsuffix /pyproject.toml,$(PLUGINS))
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,graph,ray,serve,verifiers,embedded,audit,docs,dev]' $(addprefix -e ./,$(PLUGINS))
	touch $@

test: install lint
	$(BIN)/python -m pytest -q -n 2

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The documentation, in build/docs; it opens from the disk.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Shards of all four tasks from pictures that ship inside ordinary packages; then a tiny model with random weights, a
# short start on the form of an answer with random answers, GRPO, and the report.
demo: install
	rm -rf runs/demo-data
	$(BIN)/ssl4rl build --source embedded:photos --out runs/demo-data/photos --workers 2 --variants 4 \
	    --test-fraction 0.3 --task rotation --task jigsaw --task contrastive --task position
	$(BIN)/ssl4rl build --source embedded:faces --out runs/demo-data/faces --variants 4 --balance \
	    --test-fraction 0.25 --image-format png \
	    --task 'rotation:easy?min_side=25' --task 'position:easy?min_side=25'
	$(BIN)/python examples/tiny_model.py --data runs/demo-data/faces --out runs/demo-data/tiny --seed $(SEED)
	$(BIN)/ssl4rl train recipes/demo-$(TASK).yaml --overwrite --set seed=$(SEED)
	$(BIN)/ssl4rl report runs/demo

# The same for a graph and a language model: communities whose nodes have a text, some of it hidden.
demo-graph: install
	rm -rf runs/demo-data/communities runs/demo-data/tiny-lm
	$(BIN)/python examples/communities.py --out runs/demo-data/communities.graphml
	$(BIN)/ssl4rl build --source 'networkx:runs/demo-data/communities.graphml?text=text' \
	    --out runs/demo-data/communities --variants 4 --test-fraction 0.25 \
	    --task 'attribute-mask:easy?form=adjacency&answer=text'
	$(BIN)/python examples/tiny_model.py --data runs/demo-data/communities --out runs/demo-data/tiny-lm --seed $(SEED)
	$(BIN)/ssl4rl train recipes/demo-graph.yaml --overwrite --set seed=$(SEED)
	$(BIN)/ssl4rl report runs/demo-graph

clean:
	rm -rf .venv runs build dist
