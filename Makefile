# Every command of Ratepayer. `make run` and `make test` set themselves up on a machine that has Python 3.11 and make.
PYTHON := .venv/bin/python
SEEDS ?= 25
STACKS ?= 1
FIRST ?= 1
export ONCE PORT

.PHONY: help run test lint format spec bench crash stop reset lock openapi setup setup-dev

help:
	@echo "make run               set up, start everything, run the main job, stay until Ctrl-C (ONCE=1: do not stay)"
	@echo "make test              the whole suite, in parallel, browser tests included"
	@echo "make lint              style, types, import contracts, migrations, deployment checks"
	@echo "make spec AREA=MSP     which requirements are proven (without AREA: all of them)"
	@echo "make bench             measure against the floors"
	@echo "make crash SEEDS=n     kill workers in n seeded worlds and compare the books (STACKS=n: whole stacks as well)"
	@echo "make stop, make reset  stop what runs here; forget its data as well"
	@echo "make openapi           write docs/openapi.yaml anew"
	@echo "make lock              pin the packages anew"

setup:
	@python3 config/bootstrap.py

setup-dev:
	@python3 config/bootstrap.py --dev

run: setup
	@$(PYTHON) -m config.supervisor run

stop:
	@$(PYTHON) -m config.supervisor down

reset:
	@$(PYTHON) -m config.supervisor reset

test: setup-dev
	$(PYTHON) -m pytest -n 2 --dist worksteal

spec: setup-dev
	$(PYTHON) -m pytest -q -n 2 --dist worksteal --spec $(AREA)

lint: setup-dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTHON) .ci/check_deployment.py

format: setup-dev
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

bench: setup-dev
	$(PYTHON) -m bench

crash: setup-dev
	CRASH_FIRST=$(FIRST) CRASH_SEEDS=$(SEEDS) CRASH_STACKS=$(STACKS) $(PYTHON) -m pytest -q -n 2 --dist worksteal tests/crash

lock:
	$(PYTHON) -m pip install --quiet uv
	.venv/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes -o requirements.txt requirements.in
	.venv/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes -c requirements.txt \
		-o requirements-dev.txt requirements-dev.in

openapi: setup-dev
	DJANGO_SETTINGS_MODULE=tests.typing_settings $(PYTHON) -m django spectacular --skip-checks --validate --fail-on-warn \
		--file docs/openapi.yaml
