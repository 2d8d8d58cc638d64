# Two commands for a new user: `make demo`, `make test`. Everything else builds on the same .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
REAL ?= ../shared/real
STAMP := .venv/.installed

.PHONY: demo test soak browser versions lab bench check docs format notebooks data clean

# Installed anew only when the dependency lists change.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "chatlab needs Python 3.11 or newer: set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/chatlab drift --replies model --out out/demo; test $$? -eq 1  # 1: drift was found, as it should be

test: $(STAMP) browser
	$(BIN)/python -m pytest -n 2 --dist loadfile --real=$(REAL)

# The laws that have big counts, with those counts: for a night, not for a change.
SOAK := tests/buffering tests/echo/test_causes_known.py tests/engines/dialects/test_fuzz.py tests/engines/test_prefixes.py tests/engines/test_reuse_prefix.py tests/revisions/test_injections.py tests/revisions/test_odd_documents.py \
  tests/server/openai/test_fuzz.py tests/server/test_admission.py tests/server/test_reliability.py tests/server/test_turn.py tests/snapshots/test_template_edits.py tests/streaming/test_channels.py tests/trust/test_absurd.py tests/trust/test_attacks.py tests/trust/test_random_bytes.py tests/turns
soak: $(STAMP)
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest --real=$(REAL) $(SOAK)

# A browser, a Japanese font and an accessibility checker for tests/browser, where the machine lacks them and lets us add them.
browser:
	@if command -v chromium chromium-browser google-chrome >/dev/null && fc-list :lang=ja 2>/dev/null | grep -q .; then :; \
	elif command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
	  (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-ipafont-gothic fontconfig) >/dev/null 2>&1 \
	  || echo "no browser could be installed: tests/browser will say what they skip"; \
	else echo "no Chromium or no Japanese font: install chromium and fonts-ipafont-gothic for tests/browser"; fi
	@test -f node_modules/axe-core/axe.min.js || ! command -v npm >/dev/null || \
	  npm install --no-save --no-audit --no-fund --ignore-scripts --silent axe-core@4.14.1 || echo "axe-core could not be fetched: its tests will skip"

# The tests of several transformers versions: they need the package index, so they are not part of `make test`.
versions: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[versions]'
	$(BIN)/python -m pytest --real=$(REAL) tests/real/test_revisions.py tests/history/test_environments.py

lab: $(STAMP)
	$(BIN)/chatlab lab

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only --real=$(REAL) -p no:randomly

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_exports.py
	$(BIN)/python notebooks/run.py --check

# Offline, and every warning is an error; the notebooks keep the outputs that they were saved with.
docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs out/docs
	@echo "open out/docs/index.html"

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

notebooks: $(STAMP)
	$(BIN)/python notebooks/run.py

data: $(STAMP)
	$(BIN)/python data/make_dialogues.py
	$(BIN)/python data/make_conversations.py
	$(BIN)/python data/make_tokenizers.py
	$(BIN)/python data/make_model.py

clean:
	rm -rf .venv node_modules out .hypothesis .mypy_cache .ruff_cache .benchmarks
