# Targets make their own environments from pyproject.toml; .venv is what `make demo` uses, .venv-test what tests use.
PYTHON ?= python3
BASE := .venv
TEST := .venv-test
PEERS := .venv-parity
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE  # tests start many processes, each of which would compile the package anew

.PHONY: env demo test check format slow parity bench docs clean

env: $(BASE)/ready                 ## an environment with lenext and what it needs, no extras

demo: env                          ## data, two networks trained and judged, reports written
	$(BASE)/bin/lenext demo

test: check                        ## everything that must hold
	sh tests/install_browser.sh
	$(TEST)/bin/python -m tests.real_data
	$(TEST)/bin/python -m pytest -n 2 --dist worksteal -m "not slow" $(PYTEST)

check: $(TEST)/ready               ## format, lint, types: seconds
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/ruff check .
	$(TEST)/bin/mypy

format: $(TEST)/ready              ## write the format and the lint's own mends
	$(TEST)/bin/ruff check --fix .
	$(TEST)/bin/ruff format .

slow: $(TEST)/ready                ## training to an accuracy, faults injected exhaustively, long documents
	$(TEST)/bin/python -m pytest -m slow $(PYTEST)

parity: $(PEERS)/ready             ## every network beside torchvision's and timm's, with the same weights
	OMP_NUM_THREADS=1 $(PEERS)/bin/python -m pytest parity -n 2 --dist loadgroup

bench: $(TEST)/ready $(PEERS)/ready ## timings beside peers, of which docs/performance.md tells: an hour and a half, alone
	$(TEST)/bin/python -m benchmarks.startup
	$(TEST)/bin/python -m benchmarks.latency
	$(TEST)/bin/python -m benchmarks.speed_plan
	$(TEST)/bin/python -m benchmarks.photographs
	$(TEST)/bin/python -m benchmarks.depthwise
	$(TEST)/bin/python -m benchmarks.engines
	$(TEST)/bin/python -m benchmarks.allocator
	$(TEST)/bin/python -m benchmarks.where_time_goes
	$(PEERS)/bin/python -m benchmarks.training_speed

docs: $(BASE)/ready                ## the pages of docs/models and docs/recipes.md, from the package itself
	$(BASE)/bin/python docs/make_model_pages.py
	$(BASE)/bin/python docs/make_recipe_page.py

clean:
	rm -rf $(BASE) $(TEST) $(PEERS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BASE)/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lenext needs Python 3.11 or newer")'
	@echo "installing lenext and what it needs into $(BASE) (torch is large: minutes the first time)"
	$(PYTHON) -m venv $(BASE)
	$(BASE)/bin/python -m pip install -q --editable .
	@touch $@

$(TEST)/ready: pyproject.toml
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install -q --editable '.[test]'
	@touch $@

$(PEERS)/ready: pyproject.toml parity/environment.sh
	PYTHON=$(PYTHON) sh parity/environment.sh $(PEERS)
	@touch $@
