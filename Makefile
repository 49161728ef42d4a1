# Needs Python 3.11 or newer (with venv), git and make; everything else is installed into .venv, from hashed locks.
# PYTHON=/path/to/python chooses the Python, ARGS is handed on to what a target runs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
UV_INSTALL := $(BIN)/uv pip install --no-config --quiet --compile-bytecode --python $(BIN)/python \
	--require-hashes --requirement requirements/dev.lock
CANDIDATES := $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14 python)
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header

# Two marks say what is done: `locked`, that the packages of dev.lock are all in, and for which folder (the commands of a
# .venv name it, so that a moved one is of no use); `installed`, that the project is. No mark, or a dead Python: made anew.
LOCKED := .venv/locked
INSTALLED := .venv/installed
$(shell [ "$$(cat $(LOCKED) 2>/dev/null)" = '$(CURDIR)' ] && $(BIN)/python -c '' 2>/dev/null || rm -f $(LOCKED))

.PHONY: help
help: ## this list
	@echo 'make TARGET [ARGS=...] [PYTHON=...]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14

.PHONY: setup
setup: $(INSTALLED) ## .venv with everything in it (the targets below call it)

# Sets the variable `python`, or says what is missing.
define find_python
for candidate in $(CANDIDATES); do \
  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
done; \
if [ -z "$${python:-}" ]; then \
  echo 'There is no Python 3.11 or newer here (tried: $(CANDIDATES)).' >&2; \
  echo 'Install one (Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python' >&2; \
  exit 1; \
fi; \
if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
  echo "$$python cannot make a virtual environment: its venv or ensurepip module is missing." >&2; \
  echo 'Install it (Debian: apt-get install python3-venv), or name another: make PYTHON=/path/to/python' >&2; \
  exit 1; \
fi
endef

$(LOCKED): requirements/dev.lock requirements/installer.lock
	@set -e; $(find_python); \
	echo "Setting up .venv with $$("$$python" --version) (once, a minute or two) ..."; \
	rm -rf .venv; \
	"$$python" -m venv .venv
	@echo '  installing the packages of requirements/dev.lock ...'
	@$(PIP) install --require-hashes --requirement requirements/installer.lock
	@$(UV_INSTALL) || { echo '  uv could not do it (it reads no pip.conf): pip does, which takes longer ...'; \
	  $(PIP) install --require-hashes --requirement requirements/dev.lock; }
	@printf '%s\n' '$(CURDIR)' > $@

$(INSTALLED): $(LOCKED) pyproject.toml
	@echo '  installing promoter itself ...'
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: dist
dist: ## a wheel of Promoter in dist/, to install anywhere (docs/start.md)
	@set -e; $(find_python); \
	tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	"$$python" -m venv "$$tools"; \
	"$$tools/bin/python" -m pip -qq --disable-pip-version-check --no-input install --require-hashes --requirement requirements/build.lock; \
	rm -rf dist; \
	"$$tools/bin/python" -m pip -qq --disable-pip-version-check --no-input wheel --no-deps --no-build-isolation --wheel-dir dist .; \
	ls dist/*.whl

.PHONY: demo
demo: $(INSTALLED) ## a whole system on this machine (ARGS=--exit: run through and stop; --production: PostgreSQL and S3)
	@$(BIN)/promoter demo $(ARGS)

# The servers of the tests write all the time: in memory, where there is room for it, no slow disk keeps them waiting.
# Others may enter the folder: PostgreSQL does not run as root.
IN_MEMORY = [ -w /dev/shm ] && [ "$$(df -k --output=avail /dev/shm | tail -n 1)" -gt 4000000 ] \
	&& ! findmnt -n -o OPTIONS --target /dev/shm | grep -qw noexec

.PHONY: test
test: lint chromium signers sandbox openmp ## lint, then the tests, but for the slow ones (ARGS="-k word" for some)
	@$(call run_tests,-m 'not slow' --hypothesis-profile=fast)

.PHONY: test-slow
test-slow: $(INSTALLED) chromium signers sandbox openmp ## the slow tests: kills, races, outages, every database, all examples
	@$(call run_tests,-m 'slow or property_based')

define run_tests
if { $(IN_MEMORY); } 2>/dev/null; then export TMPDIR=/dev/shm; fi; \
	TMPDIR=$$(mktemp -d -t promoter-XXXXXX); export TMPDIR; chmod 711 "$$TMPDIR"; trap 'rm -rf "$$TMPDIR"' EXIT; \
	echo "Testing, with temporary files in $$TMPDIR ..."; \
	$(BIN)/pytest -n 2 --dist worksteal $(1) $(ARGS)
endef

.PHONY: lint
lint: $(INSTALLED) ## style, types, import contracts and the code's shape (each tool keeps what it knows of files that stayed)
	@echo 'Checking style, types, import contracts and shape ...'
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@$(BIN)/mypy & types=$$!; failed=0; \
	$(BIN)/lint-imports --no-logo || failed=1; \
	$(BIN)/python checks/shape.py || failed=1; \
	wait $$types || failed=1; exit $$failed

.PHONY: chromium
chromium: ## the browser that the dashboard's tests drive
	@for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do \
	  if command -v "$$name" >/dev/null; then exit 0; fi; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo 'Installing chromium for the browser tests (once, about half a minute) ...'; \
	  export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes; \
	  if apt-get -qq update && apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends \
	      chromium fonts-dejavu-core >/dev/null; then exit 0; fi; \
	fi; \
	echo 'The browser tests need chromium or chrome on PATH, and there is none.' >&2

.PHONY: signers
signers: ## the programs that verify signatures of commits
	@if command -v ssh-keygen >/dev/null && command -v gpg >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo 'Installing openssh-client and gnupg for signed commits (once, a few seconds) ...'; \
	  export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes; \
	  if apt-get -qq update && apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends --yes \
	      openssh-client gnupg >/dev/null; then exit 0; fi; \
	fi; \
	echo 'The tests of signed commits need ssh-keygen and gpg on PATH, and they are not there.' >&2

.PHONY: sandbox
sandbox: ## the program that models are loaded in
	@if command -v bwrap >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo 'Installing bubblewrap for loading models (once, a few seconds) ...'; \
	  export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes; \
	  if apt-get -qq update && apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends --yes \
	      bubblewrap >/dev/null; then exit 0; fi; \
	fi; \
	echo 'The tests that load models need bwrap on PATH, and skip without another sandbox.' >&2

.PHONY: openmp
openmp: $(INSTALLED) ## the library that LightGBM needs
	@if $(BIN)/python -c 'import lightgbm' 2>/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo 'Installing libgomp1 for LightGBM (once, a few seconds) ...'; \
	  export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes; \
	  if apt-get -qq update && apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends --yes \
	      libgomp1 >/dev/null; then exit 0; fi; \
	fi; \
	echo 'The tests that train with LightGBM need the library libgomp, and it is not there.' >&2

.PHONY: bench
bench: $(INSTALLED) ## a benchmark (BENCH=chaos, latency, commits, ledger, ledger_kills, false_promotions, replay, two_hosts or two_promoters; ARGS=--help)
	@$(BIN)/python benchmarks/$(or $(BENCH),latency).py $(ARGS)

.PHONY: githubapi
githubapi: $(INSTALLED) ## every call to GitHub against its public description (needs npm)
	@$(BIN)/python checks/github_api.py $(ARGS)

.PHONY: lock
lock: $(INSTALLED) ## the locks anew from pyproject.toml (ARGS=--upgrade: newest versions)
	$(UV_COMPILE) $(ARGS) --output-file requirements/dev.lock pyproject.toml --extra demo-production --extra expressions --extra github --extra gitlab \
	  --extra gitea --extra notifications --group dev
	$(UV_COMPILE) $(ARGS) --output-file requirements/runtime.lock pyproject.toml --extra server --extra expressions --extra postgres \
	  --extra github --extra gitlab --extra gitea --extra notifications --extra s3 \
	  --constraint requirements/dev.lock
	$(UV_COMPILE) $(ARGS) --output-file requirements/check.lock pyproject.toml --extra check --extra expressions \
	  --constraint requirements/dev.lock
	echo hatchling | $(UV_COMPILE) --output-file requirements/build.lock --constraint requirements/dev.lock -
	printf 'psycopg2-binary\nboto3\nFlask-WTF<2\n' | $(UV_COMPILE) $(ARGS) --output-file requirements/mlflow.lock --constraint requirements/dev.lock -
	echo uv | $(UV_COMPILE) $(ARGS) --output-file requirements/installer.lock -

.PHONY: clean
clean: ## removes .venv, caches and build results
	@rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
