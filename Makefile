# Needs Python 3.11 or newer with venv and pip, nothing else: `make run` and `make test` bring the rest,
# all of it into .venv.

# A distribution's interpreter is compiled by profile, one that pyenv compiles is not, unless asked to, and takes a
# quarter longer for the tests. So the distribution's is preferred where it is new enough and can make environments.
SUITED = import ensurepip, sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(if $(shell /usr/bin/python3 -c '$(SUITED)' 2>/dev/null && echo suited),/usr/bin/python3,python3)
UV := uv==0.13.9
BIN := .venv/bin

# Settings of other projects do not decide what is installed here, nor where.
# Only how to reach a package index is kept: addresses, certificates, caches, time-outs.
REACH := PIP_CERT PIP_CLIENT_CERT PIP_PROXY PIP_TRUSTED_HOST PIP_INDEX_URL PIP_EXTRA_INDEX_URL \
	PIP_FIND_LINKS PIP_CACHE_DIR PIP_DEFAULT_TIMEOUT PIP_RETRIES \
	UV_INDEX% UV_DEFAULT_INDEX UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_CACHE_DIR UV_HTTP_% \
	UV_INSECURE_HOST UV_NATIVE_TLS UV_SYSTEM_CERTS UV_OFFLINE
unexport $(filter-out $(REACH),$(filter PIP_% UV_%,$(.VARIABLES)))
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME DJANGO_SETTINGS_MODULE
# Compiling what a process imports takes it longer than to import it, and `make test` starts about a hundred.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test test-mariadb package soak fuzz faults bench against modes growth load smoke performance memory catalogs pages mails routes node client mutants must-fail \
	messages screenshots check clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/.run  ## Start Bursary with demonstration data on http://127.0.0.1:8000 (PORT=… for another)
	@$(BIN)/bursary demo

DATABASES ?= sqlite postgres

# One process for each of two cores, and one for the tests that wait (tests/workers.py).
test: .venv/.dev  ## Run every test on SQLite, then those that depend on the engine on PostgreSQL (ARGS=… for pytest)
	@failed=; for database in $(DATABASES); do \
		echo "== Tests on $$database"; \
		BURSARY_TEST_DB=$$database $(BIN)/python -m pytest -n 3 --durations 10 --durations-min 3 $(ARGS) || failed="$$failed $$database"; \
	done; \
	if [ -n "$$failed" ]; then echo "Tests failed on:$$failed" >&2; exit 1; fi

test-mariadb: .venv/.dev  ## Run the tests that depend on the engine on MariaDB (Debian: apt-get install mariadb-server)
	@echo "== Tests on mariadb"
	@BURSARY_TEST_DB=mariadb $(BIN)/python -m pytest -n 3 --durations 10 --durations-min 3 $(ARGS)

package: .venv/.dev  ## Build the package, install it in a folder from a package index, and run the demonstration from it
	BURSARY_TEST_PACKAGE=1 $(BIN)/python -m pytest -n0 $(ARGS) tests/ops/test_distribution.py

HISTORIES ?= 300
FIGURES := -n0 -o log_cli=true -o log_cli_level=INFO
soak: .venv/.dev  ## Run the long tests in full: many more orders of events (HISTORIES=…), many more rows
	BURSARY_TEST_SOAK=$(HISTORIES) $(BIN)/python -m pytest $(ARGS) tests/replica/test_any_order.py tests/faults/test_fault_01_expiry_skips_rows.py \
		tests/ops/test_erasure_runs.py tests/faults/test_an_hour_of_outage.py tests/browser \
		tests/flows/test_a_restricted_run_over_http.py tests/lib/test_mailbox.py tests/assignments/test_pasted_lists.py
	BURSARY_TEST_SOAK=$(HISTORIES) BURSARY_TEST_DB=postgres $(BIN)/python -m pytest $(ARGS) tests/assignments/test_mailbox_keys.py \
		tests/ops/test_celery_on_rabbitmq.py
	BURSARY_TEST_SOAK=$(HISTORIES) $(BIN)/python -m pytest $(ARGS) $(FIGURES) tests/ops/test_serving_fairly.py
	for database in sqlite postgres; do BURSARY_TEST_SOAK=$(HISTORIES) BURSARY_TEST_DB=$$database \
		$(BIN)/python -m pytest $(ARGS) $(FIGURES) tests/lib/test_leases_on_engines.py || exit 1; done

EXAMPLES ?= 100
fuzz: .venv/.dev  ## Send the served API requests made up from its schema, as each role, with a fixed seed (EXAMPLES=… an operation, ONLY=… part of its address)
	BURSARY_TEST_FUZZ=$(EXAMPLES) BURSARY_TEST_FUZZ_ONLY='$(ONLY)' $(BIN)/python -m pytest -n0 $(ARGS) tests/ops/test_fuzzing.py

KILLS ?= 100
ENGINES ?= $(DATABASES) $(if $(shell PATH=$$PATH:/usr/sbin command -v mariadbd),mariadb)
FAULTS = $(CURDIR)/.venv/faults.md
faults: .venv/.dev  ## Kill workers at random on every engine and executor, and count what is lost (KILLS=…); 5 minutes each
	@echo "| engine | executor | kills | mails | lost | stuck | second copies | expected at most | seconds |" >$(FAULTS)
	@echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- |" >>$(FAULTS)
	@failed=; for database in $(ENGINES); do \
		BURSARY_TEST_DB=$$database BURSARY_TEST_KILLS=$(KILLS) BURSARY_TEST_TABLE=$(FAULTS) \
			$(BIN)/python -m pytest -n0 -q $(ARGS) tests/faults/test_killed_workers.py || failed="$$failed $$database"; \
	done; cat $(FAULTS); \
	if [ -n "$$failed" ]; then echo "Failed on:$$failed" >&2; exit 1; fi

SCALE ?= small
DB ?= sqlite postgres
MEASURED = $(CURDIR)/.venv/measured
bench: .venv/.dev  ## Measure against SQL by hand; fails above 1.5 times a target (SCALE=small|100k|1m DB=sqlite|postgres|mariadb, ONLY=lists …)
	@mkdir -p $(MEASURED); failed=; for database in $(DB); do figures=$(MEASURED)/bench-$(SCALE)-$$database.jsonl; \
		$(if $(ONLY),,rm -f $$figures;) $(BIN)/python -m bench.run --db $$database --scale $(SCALE) --out $$figures $(if $(ONLY),--only $(ONLY)) \
			|| failed="$$failed $$database"; \
	done; \
	if [ -n "$$failed" ]; then echo "Above target on:$$failed" >&2; exit 1; fi

modes: .venv/.dev  ## Measure the replica against fetch and cache, with an upstream that takes 0 and 100 ms
	@mkdir -p $(MEASURED); rm -f $(MEASURED)/modes.jsonl; $(BIN)/python -m bench.modes --out $(MEASURED)/modes.jsonl

THEN ?= 6c00f413
against: .venv/.dev  ## Measure requests by this code and by the commit that the goals in milliseconds were set against (THEN=…)
	@mkdir -p $(MEASURED); rm -f $(MEASURED)/against.jsonl; $(BIN)/python -m bench.against --then $(THEN) --out $(MEASURED)/against.jsonl

MOST ?= 1000000
growth: .venv/.dev  ## Measure how cost grows with what there is, and draw it in docs/images by `make performance` (MOST=…)
	@mkdir -p $(MEASURED); rm -f $(MEASURED)/growth.jsonl; $(BIN)/python -m bench.growth --most $(MOST) --out $(MEASURED)/growth.jsonl

SECONDS ?= 10
load: .venv/.dev  ## Send the served API a mix of requests by 1 to 64 connections; fails at a 5xx or a deadlock (SECONDS=… for each)
	@mkdir -p $(MEASURED); rm -f $(MEASURED)/load.jsonl; $(BIN)/python -m bench.load --seconds $(SECONDS) --out $(MEASURED)/load.jsonl

smoke: .venv/.dev  ## Run modes, growth and load once at a tiny size
	BURSARY_TEST_BENCH=1 $(BIN)/python -m pytest -n0 $(ARGS) tests/bench/test_scripts.py

performance: .venv/.dev  ## Write docs/performance.md and its pictures anew, from the last figures of bench, against, modes, growth and load
	@$(BIN)/python -m bench.report $(wildcard $(MEASURED)/bench-small-*.jsonl $(MEASURED)/bench-1*.jsonl $(MEASURED)/against.jsonl $(MEASURED)/modes.jsonl $(MEASURED)/growth.jsonl $(MEASURED)/load.jsonl)

COURSES ?= 100000
memory: .venv/.dev  ## Measure the memory that a refresh needs, ten times the content against once (COURSES=…)
	@$(BIN)/python bench/refresh_memory.py --courses $(COURSES)

STEP ?= 2000
catalogs: .venv/.dev  ## Measure requests, memory and rows of 50 catalogs of 2,000 courses (STEP=… from one's first to the next's)
	@$(BIN)/python -m bench.refresh_catalogs --step $(STEP)

ASSIGNMENTS ?= 100000
pages: .venv/.dev  ## Measure an administrator's pages with 100,000 assignments in the budget against 1,000 (ASSIGNMENTS=…)
	@$(BIN)/python -m bench.pages --assignments $(ASSIGNMENTS)

ROUNDS ?= 3
mails: .venv/.dev  ## Measure mails a second with two processes, against SQL and SMTP by hand (ROUNDS=…); 3 minutes
	@$(BIN)/python -m bench.mails --rounds $(ROUNDS)

routes: .venv/.dev  ## Ask every route as every kind of caller, and write docs/routes.md anew
	@BURSARY_TEST_ROUTES=write $(BIN)/python -m pytest -n0 -q tests/api/test_routes.py

node: tests/contract/node/node_modules/.made  ## Install the web clients' own transport for tests/contract (Node.js 20.19 or newer; npm)

tests/contract/node/node_modules/.made: tests/contract/node/package-lock.json
	@cd tests/contract/node && npm ci --ignore-scripts --legacy-peer-deps --no-audit --no-fund --loglevel=error --fetch-retries=1 --fetch-timeout=60000
	@touch $@

client: .venv/client/.made  ## Install the generator of Python clients for tests/contract, in an environment of its own

.venv/client/.made: .venv/.uv tests/contract/python/requirements.txt
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv/client
	@$(BIN)/uv pip install --quiet --python .venv/client/bin/python -r tests/contract/python/requirements.txt --system-certs 2>/dev/null || \
		$(BIN)/uv pip install --quiet --python .venv/client/bin/python -r tests/contract/python/requirements.txt
	@touch $@

MUTANTS ?= $(foreach module,$(MODULE),'*.$(module).*')
mutants: .venv/.dev  ## Change the core's lines one at a time and list the changes no test notices (MODULE=ledger for one module)
	@$(BIN)/python -m scripts.mutants $(MUTANTS)

must-fail: .venv/.dev  ## Make the core's changes of scripts/must_fail.toml, each of which must fail its tests (ONLY=… part of the sentence)
	@$(BIN)/python -m scripts.must_fail $(if $(ONLY),'$(ONLY)')

LANGUAGE ?= en
messages: export BURSARY_VAR_DIR = $(CURDIR)/.venv/messages
messages: export BURSARY_SECRET_KEY = messages-need-a-key-that-signs-nothing
messages: .venv/.dev  ## Collect what is to be translated into bursary/locale, and compile it (LANGUAGE=de; GNU gettext)
	@command -v msgfmt >/dev/null || { echo "GNU gettext is needed (Debian: apt-get install gettext)"; exit 1; }
	@mkdir -p $(BURSARY_VAR_DIR) bursary/locale
	@cd bursary && $(CURDIR)/$(BIN)/django-admin makemessages --settings bursary.config.settings --locale $(LANGUAGE) --no-wrap --no-obsolete --add-location file
	@cd bursary && $(CURDIR)/$(BIN)/django-admin compilemessages --settings bursary.config.settings --locale $(LANGUAGE)

screenshots: .venv/.dev  ## Take the pictures of the pages in docs/images anew, of a demonstration of their own (Chromium)
	@$(BIN)/python scripts/screenshots.py

check: export BURSARY_VAR_DIR = $(CURDIR)/.venv/check
check: export BURSARY_DATABASE_URL = sqlite:///$(CURDIR)/.venv/check/bursary.sqlite3
check: export BURSARY_SECRET_KEY = checks-need-a-key-that-signs-nothing
check: .venv/.dev  ## Check style, types, layers, sizes, settings and migrations
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/check_sizes.py
	@mkdir -p $(BURSARY_VAR_DIR)
	$(BIN)/bursary check --fail-level WARNING
	$(BIN)/bursary makemigrations --check --dry-run

clean:  ## Remove the virtual environment, all caches and var/, the demonstration's data
	rm -rf .venv var dist mutants tests/contract/node/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, in three stamps. Each is made again only when its prerequisites change.

# Behind a proxy, the certificate to trust is in PIP_CERT or in the system's store. So the system's certificates are
# tried first, silently: a machine may have none. uv brings its own for that case, and then its errors are shown.
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
SYNC = UV_PROJECT_ENVIRONMENT="$(CURDIR)/.venv" $(BIN)/uv sync --quiet --frozen --inexact --python $(BIN)/python
DEV := --extra anymail --extra celery --extra mysql --extra postgres --extra openedx

.venv/.uv: Makefile
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || { echo "Making .venv …"; $(PYTHON) -m venv .venv; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	@touch $@

.venv/.run: .venv/.uv pyproject.toml uv.lock
	@$(SYNC) --no-dev --system-certs 2>/dev/null || $(SYNC) --no-dev
	@touch $@

# The tests start with some ten processes at once, which would each compile what they import.
.venv/.dev: .venv/.uv pyproject.toml uv.lock
	@$(SYNC) --compile-bytecode $(DEV) --system-certs 2>/dev/null || $(SYNC) --compile-bytecode $(DEV)
	@touch $@
