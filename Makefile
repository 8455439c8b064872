# Two commands on a fresh machine: `make demo` and `make test`. `make help` lists all targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_DATA ?= data/synthetic
DEMO_RUN ?= runs/demo
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick lint format wheel constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make the virtual environment and install everything

# uv (installed by pip inside the venv) does the installing; torch and torchvision come as a pair.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt \
	    --editable '.[dev,search,joblib]'
	@touch $@

demo: $(STAMP) ## draw faces, train CurricularFace on MobileFaceNet, evaluate, report
	$(BIN)/python -m frfw.synthesize out=$(DEMO_DATA)
	$(BIN)/python -m frfw.train experiment=demo data.path=$(DEMO_DATA) name=$(notdir $(DEMO_RUN)) \
	    runs=$(dir $(DEMO_RUN)) resume=auto $(ARGS)
	$(BIN)/python -m frfw.evaluate checkpoint=$(DEMO_RUN) evaluation=[lfw,cfp_fp,agedb_30]
	@echo
	@echo "report       $(DEMO_RUN)/report.html"
	@echo "TensorBoard  $(BIN)/tensorboard --logdir $(DEMO_RUN)/tensorboard"

test: $(STAMP) ## set up, check the style, run all tests
	$(BIN)/ruff check frfw scripts tests
	$(BIN)/ruff format --check frfw scripts tests
	$(BIN)/python -m pytest -q -n auto --dist loadfile $(ARGS)

quick: $(STAMP) ## the quick tests alone
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow" $(ARGS)

lint: $(STAMP) ## check the style
	$(BIN)/ruff check frfw scripts tests
	$(BIN)/ruff format --check frfw scripts tests

format: $(STAMP) ## mend the style
	$(BIN)/ruff check --fix frfw scripts tests
	$(BIN)/ruff format frfw scripts tests

wheel: $(STAMP) ## build a wheel into dist/
	$(BIN)/uv build --quiet --wheel --python $(BIN)/python

constraints: $(STAMP) ## write constraints.txt from what is installed and tested
	@echo "# The exact versions that the tests ran with. Made by 'make constraints'." > constraints.txt
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | grep -v '^pip==' >> constraints.txt

clean: ## remove the virtual environment and build products (not data, not runs)
	rm -rf $(VENV) build dist *.egg-info
