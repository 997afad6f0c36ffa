# All commands of the project. They need Python 3.11 and make; the first target that needs a package installs it into .venv.
# Paths are relative on purpose: make splits names at spaces, and the path of a checkout may contain one.

.DEFAULT_GOAL := help
.PHONY: help demo demo-tamper up migrate test fuzz kill interleavings lint format types docs bench model engines wagtail clean
SHELL := /bin/sh
PY := .venv/bin/python
ARGS ?=

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /: /' | awk -F': ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: .venv/.base ## run the example brand; ARGS="--once" ends by itself
	@$(PY) manage.py demo --engines-by "$(MAKE) --no-print-directory engines" $(ARGS)

demo-tamper: .venv/.base ## change one byte in a copy of the audit trail and let `audit verify` find it
	@$(PY) manage.py demo_tamper $(ARGS)

up: .venv/.base ## run on your own data (web, two workers and the clock in this terminal)
	@$(PY) -m config.supervisor up

migrate: .venv/.base ## bring the tables up to date
	@$(PY) manage.py migrate

wagtail: .venv/.wagtail ## install the Wagtail site to which `make demo` then delivers approved images

engines: .venv/.engines ## install what the diffusers engine needs (torch, diffusers)

test: .venv/.engines .venv/.test ## run every test, in two processes; ARGS="tests/core/test_states.py -q" runs some, in one
	@tests/chromium.sh
	@$(PY) -m pytest $(or $(ARGS),--numprocesses=2 --dist=loadfile --no-loadscope-reorder)

fuzz: .venv/.engines .venv/.test ## send hostile values in every request and count; the tests send a sample
	@FUZZ=whole $(PY) -m pytest $(or $(ARGS),tests/fuzz) -q

kill: .venv/.engines .venv/.test ## kill workers and attempts of deliveries thousands of times and count; KIND=shopify for one kind
	@KILLS=whole KIND=$(KIND) $(PY) -m pytest $(or $(ARGS),tests/review/test_delivery_kills.py) -q --show-capture=no

interleavings: .venv/.engines .venv/.test ## let reviewers meet in 10,000 random interleavings of their transactions; the tests try 500
	@INTERLEAVINGS=10000 $(PY) -m pytest $(or $(ARGS),tests/review/test_interleavings.py) -q

lint: .venv/.test ## check style, format and the direction of imports
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@.venv/bin/djangofmt --quiet check templates
	@.venv/bin/djangofmt --quiet --check templates || { echo "make format mends the templates"; exit 1; }
	@.venv/bin/oxlint --deny-warnings static
	@.venv/bin/oxfmt --list-different static || { echo "make format mends these"; exit 1; }
	@.venv/bin/lint-imports --no-cache 2>&1

format: .venv/.test ## format the code, the templates, the scripts and the styles
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .
	@.venv/bin/djangofmt --quiet check --fix templates
	@.venv/bin/djangofmt --quiet templates
	@.venv/bin/oxfmt static

types: .venv/.test ## run mypy, strict where it matters most
	@$(PY) -m mypy

docs: .venv/.base ## write docs/states.md, docs/settings.md and docs/openapi.yaml again
	@$(PY) -m docs.states
	@$(PY) -m docs.settings
	@$(PY) manage.py spectacular --file docs/openapi.yaml

bench: .venv/.engines .venv/.test ## run a benchmark; NAME=line runs benchmarks/line.py; the last line of output is JSON
	@$(PY) -m benchmarks.$(or $(NAME),line) $(ARGS)

model: .venv/.engines .venv/.test ## train, evaluate or draw with the example's diffusion model; ARGS=train, evaluate (default) or sheet
	@$(PY) -m examples.model $(or $(ARGS),evaluate)

clean: ## remove .venv and everything under var/ (the embedded database too)
	@rm -rf .venv var

# -- the virtual environment: one stamp per requirements file, so that pip runs once per change ------------------------

# Python compiles what it imports; pip would compile all of torch, which takes longer than fetching it.
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile

.venv/bin/python:
	@found=; for python in $${PYTHON:-} python3.11 python3 python; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "Proofline needs Python 3.11, and found none as python3.11, python3 or python."; \
		echo "Debian: apt install python3.11 python3.11-venv.  macOS: brew install python@3.11.  Else: PYTHON=/path make …"; \
		exit 1; \
	fi; \
	echo "Making .venv with $$($$found --version)"; \
	rm -rf .venv; \
	"$$found" -m venv .venv || { rm -rf .venv; echo "Python cannot make a virtual environment (Debian: apt install python3.11-venv)"; exit 1; }

.venv/.base: requirements/base.txt | .venv/bin/python
	@echo "Installing requirements/base.txt"
	@$(INSTALL) -r requirements/base.txt
	@touch $@

.venv/.engines: requirements/engines.txt .venv/.base
	@echo "Installing requirements/engines.txt"
	@$(INSTALL) -r requirements/engines.txt
	@touch $@

.venv/.wagtail: requirements/wagtail.txt .venv/.base
	@echo "Installing requirements/wagtail.txt"
	@$(INSTALL) -r requirements/wagtail.txt
	@touch $@

.venv/.test: requirements/test.txt .venv/.base
	@echo "Installing requirements/test.txt"
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements/test.txt
	@touch $@
