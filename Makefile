# make run    the dashboard          make test    the tests           make check    style, types, architecture
# Anything for Streamlit or pytest goes into ARGS: make run ARGS="--server.port 8600", make test ARGS="-k pgd -x".

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
CHROMIUM := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

.DEFAULT_GOAL := help
.PHONY: help run test test-quick slow peers claims tables examples check bench clean distclean browser

help:
	@echo "make run         start the dashboard (creates $(VENV) first)"
	@echo "make test        run the tests: unit, pages, browser, comparisons with other libraries; but for:"
	@echo "make slow        the few that take long, such as every attack run from the page"
	@echo "make test-quick  the same without the browser"
	@echo "make peers       the comparisons with other libraries on 200 real X-rays (PERTURBSCOPE_PEER_XRAYS) instead of 40"
	@echo "make claims      what the attacks' papers claim, measured on real data; writes CLAIMS.md (takes many hours;"
	@echo "                 stopped and started again it goes on where it was; one claim: ARGS=nonsign-kermany)"
	@echo "make examples    compute anew what the pages show on opening (assets/examples), some minutes"
	@echo "make tables      what attacks do to the models that come with it, on real data; writes README.md's tables (half an"
	@echo "                 hour; stopped and started again it goes on where it was; one table: ARGS=xrays-attacked)"
	@echo "make check       ruff, mypy on engine/, import-linter"
	@echo "make bench       measure speed against the other libraries and write BENCHMARKS.md"
	@echo "make clean       remove caches; make distclean: $(VENV) too"

run: $(VENV)/installed-run
	@$(BIN)/python -m streamlit run app.py $(ARGS)

# Side by side, but for the browser's tests: they wait for what a visitor would wait for. 5: there are none in ARGS.
test: test-quick browser
	$(BIN)/python -m pytest tests/e2e -m e2e $(ARGS) || test $$? = 5

test-quick: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "not e2e and not slow" -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS) || test $$? = 5

slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m slow $(ARGS)

peers: $(VENV)/installed-test
	PERTURBSCOPE_PEER_XRAYS=$${PERTURBSCOPE_PEER_XRAYS:-200} PERTURBSCOPE_PEER_IMAGES=$${PERTURBSCOPE_PEER_IMAGES:-48} \
		$(BIN)/python -m pytest tests/peers $(ARGS)

claims: $(VENV)/installed-run
	$(BIN)/python -m engine claims --out CLAIMS.md $(ARGS)

examples: $(VENV)/installed-run
	$(BIN)/python -m engine examples $(ARGS)

tables: $(VENV)/installed-run
	$(BIN)/python -m engine tables --out README.md $(ARGS)

check: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy engine
	$(BIN)/lint-imports

bench: $(VENV)/installed-test
	$(BIN)/python -m tests.bench $(ARGS)

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

browser:
	@test -n "$(CHROMIUM)" || { echo "The browser tests need Chromium; install it with: sudo apt-get install chromium" \
		"(macOS: brew install chromium), or leave them out: make test-quick" >&2; exit 1; }

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || { echo \
		"Perturbscope needs Python 3.11 or newer, which '$(PYTHON)' is not; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || { echo \
		"'$(PYTHON)' cannot make environments; install that part of it, on Debian: sudo apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)

# The stamps: pip runs again when a list of requirements has changed, or after an interrupted installation.
$(VENV)/installed-run: requirements.txt $(BIN)/python
	@echo "Installing what the dashboard needs (about 6 GB, once) ..."
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/installed-test: requirements-dev.txt requirements-ray.txt requirements-dicom.txt requirements-pretrained.txt requirements-peers.txt $(VENV)/installed-run
	@echo "Installing what the tests need ..."
	@$(PIP) -r requirements-dev.txt
	@$(PIP) --no-deps -r requirements-peers.txt
	@touch $@
