# Every target sets up what it needs. PYTHON is any CPython from 3.10.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo build test slow simulate mutants lint docs bench lock clean

demo: $(VENV)/.run
	PYTHONPATH=src $(BIN)/python -m habeat lab

# The single file that is copied to mail servers; INTERPRETER is the Python there, if it is not the plain python3.
# EXTRAS=vcenter puts in what the witness vcenter needs.
build: $(VENV)/.run
	$(if $(EXTRAS),$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-$(EXTRAS).lock)
	$(BIN)/python scripts/build.py $(if $(INTERPRETER),--interpreter $(INTERPRETER)) $(if $(EXTRAS),--extra $(EXTRAS)) dist/habeat

test: lint
	$(BIN)/python scripts/servers.py .servers
	$(BIN)/python -m pytest -n 5 --dist loadgroup --no-loadscope-reorder tests

# What takes too long for every day: habeat killed at every boundary of a failover and of rebuilding the quorum (25 min).
slow: $(VENV)/.dev
	$(BIN)/python scripts/servers.py .servers
	HABEAT_SLOW=1 $(BIN)/python -m pytest tests/test_quorum_kill.py
	$(BIN)/python -m pytest -m slow tests

# The fault simulator on all processors: 100,000 schedules take less than half an hour on two.
simulate: $(VENV)/.run
	PYTHONPATH=src $(BIN)/python -m habeat simulate --runs 100000 --seed $$(date +%Y%m%d)

# Break every guard and write order in turn, and write down what finds each (half an hour).
mutants: $(VENV)/.dev
	$(BIN)/python scripts/mutants.py docs/mutants.md

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/python -m habeat.report.states > docs/states.md
	$(BIN)/habeat config schema --markdown > docs/configuration.md

bench: $(VENV)/.dev
	$(BIN)/python bench/check.py

# The locks hold for every supported Python and name no registry.
lock: $(VENV)/.dev
	$(BIN)/uv pip compile --universal --python-version 3.10 --generate-hashes --no-header --no-emit-index-url \
		--no-annotate pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.10 --generate-hashes --no-header --no-emit-index-url \
		--no-annotate --extra vcenter pyproject.toml requirements-dev.in -o requirements-dev.lock
	$(BIN)/uv pip compile --universal --python-version 3.10 --generate-hashes --no-header --no-emit-index-url \
		--no-annotate --extra vcenter pyproject.toml -o requirements-vcenter.lock

$(VENV)/.run: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "habeat needs Python 3.10 or newer; run: make PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) .servers build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
