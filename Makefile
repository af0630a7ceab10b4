# Every target that is meant to be used is in `make help`.
# `make demo` and `make test` install what they lack (Debian 12 or 13, as root or with sudo).

PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local/phoenix_hypervisor
DESTDIR ?=
VENV := .venv
STAMP := $(VENV)/.stamp-$(shell sha256sum requirements.lock | cut -c1-16)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

APT_RUN := apparmor python3-click python3-jsonschema python3-fastjsonschema python3-rich
# An ordinary user's build of the lab needs a range of user ids.
APT_LAB := qemu-system-x86 qemu-utils mmdebstrap e2fsprogs util-linux debian-archive-keyring $(if $(SUDO),uidmap)
APT_DEB := dpkg-dev debhelper dh-python lintian
APT_TEST := $(APT_RUN) $(APT_LAB) python3-venv git strace jq diffutils procps cpio zstd zsh fish mandoc systemd gpg gpg-agent gpgv chromium $(APT_DEB)
# One process a core: a file's tests, or in the lab a release's, stay in one (tests/conftest.py).
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
# Tests that may skip under CI, as pytest -k would name them; keep it short.
# test_moving.py: Debian releases in the making, which some days cannot be built or do not boot.
ALLOWED_SKIPS := test_moving.py
# Only root can become somebody else.
ALLOWED_SKIPS += test_ordinary_user.py
# Each of these is for one generation of the parser: with priorities, without, or one that asks the kernel.
ALLOWED_SKIPS += test_no_part_of_proc_and_sysfs test_no_alias_of_proc_and_sysfs test_a_compiler_that_was_told_too_little
ALLOWED_SKIPS += test_an_allow_rule_that_outranks test_each_priority_has test_a_block_of_deny_rules
ALLOWED_SKIPS += test_the_rule_all test_a_rule_that_is_needed_for_its_priority test_a_rule_of_another_priority

.DEFAULT_GOAL := help

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-15s %s\n", $$1, $$2}'

apt-run:
	@tools/need $(SUDO) $(APT_RUN)

apt-lab:
	@tools/need $(SUDO) $(APT_RUN) $(APT_LAB)

apt-venv:
	@tools/need $(SUDO) python3-venv

apt-test:
	@tools/need $(SUDO) $(APT_TEST)

$(STAMP): requirements.lock | apt-venv
	@rm -rf $(VENV)
	@echo "making $(VENV) from requirements.lock"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
	  -r requirements.lock >$(VENV)/pip.log 2>&1 || { cat $(VENV)/pip.log >&2; exit 1; }
	@touch $@

# Prometheus's own judge of metrics and rules; its package would start a server on this machine.
$(VENV)/bin/promtool: | $(STAMP)
	@echo "taking promtool out of Debian's package"
	@tools/promtool $@

demo: apt-lab ## The documents' three containers on a real AppArmor kernel with real LXC, in QEMU
	@bin/phoenix lab demo

demo-directory: apt-run ## The same workflow on a host that is only a directory: seconds, no QEMU
	@tools/demo

test: apt-test $(STAMP) $(VENV)/bin/promtool ## Linters and types, then all tests
	@ALLOWED_SKIPS="$(ALLOWED_SKIPS)" $(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) --cov --cov-report=

unit: apt-run $(STAMP) ## Unit and property tests only: seconds; root only where a package is missing
	@$(VENV)/bin/python -m pytest tests/unit tests/property

lint: $(STAMP) ## Formatting, lint, types, import rules
	@$(VENV)/bin/python -m pytest tests/unit/test_linters.py

mutants: apt-test $(STAMP) ## Change what writes, undoes or removes, one thing at a time: do tests notice? (minutes)
	@nice -n 5 $(VENV)/bin/python tools/mutants $(MUTANTS)

faults: apt-test $(STAMP) ## Fail and kill setup, apply, rollback at every call that changes state (minutes)
	@$(VENV)/bin/python tools/faults

powercut: apt-test $(STAMP) ## Cut the power of the lab's machine at 42 points of an apply, boot, recover (12 minutes; more beside other work)
	@nice -n 5 $(VENV)/bin/python tools/powercut $(POWERCUT)

fuzz: $(STAMP) ## Readers of configurations, JSON, manifests and journals on 5,000 inputs each, of audit lines on 100,000
	@HYPOTHESIS_PROFILE=fuzz timeout 900 $(VENV)/bin/python -m pytest tests/property/test_readers.py tests/property/test_conf.py
	@PHOENIX_FUZZ_LINES=100000 timeout 900 $(VENV)/bin/python -m pytest tests/unit/test_audit_forged.py -k any_line

bench: apt-test $(STAMP) ## Budgets, measured beside the documents' own shell; writes bench/results.json
	@$(VENV)/bin/python bench/run.py

deb: ## The Debian package, into dist/
	@tools/need $(SUDO) $(APT_RUN) $(APT_DEB)
	@tools/deb

collection: apt-venv ## The Ansible collection, into dist/
	@ANSIBLE="$$(tools/ansible-venv 2.19.14)" tools/collection

collection-test: apt-test $(STAMP) ## The collection under ansible-lint and ansible-test, and its playbooks (ten minutes; PHOENIX_FLEET=1: the role on new Debian systems, and three guests, too)
	@tools/collection-test

install: ## Into /usr/local/phoenix_hypervisor (PREFIX=DIR: elsewhere), with phoenix and phoenix_orchestrator in /usr/local/bin; DESTDIR honoured
	@tools/install "$(DESTDIR)" "$(PREFIX)"

pictures: apt-run $(STAMP) ## The pictures of the README, from what `phoenix plan` and `status` print; writes docs/pictures
	@$(VENV)/bin/python tools/pictures

reference: $(STAMP) ## Write docs/configuration.md and docs/codes.md anew from the code
	@$(VENV)/bin/python tools/reference

lock: ## Renew requirements.lock (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
	  --no-annotate --custom-compile-command "make lock" --group dev pyproject.toml -o requirements.lock

fleet-bench: apt-test $(STAMP) ## 500 nodes of 200 containers as directories, by the collection's own code; writes bench/fleet.json (half an hour)
	@$(VENV)/bin/python bench/fleet.py $(FLEET)

efficacy: apt-test $(STAMP) ## Real operations in real containers under every profile; writes docs/efficacy.md and .json
	@tools/need $(SUDO) $(APT_LAB)
	@PYTHONPATH=src:. $(VENV)/bin/python -m efficacy $(EFFICACY)

docker: apt-test $(STAMP) ## Real Docker under our profiles, runc and crun, in the lab (an hour); writes docs/docker.json
	@PYTHONPATH=src:. $(VENV)/bin/python -m efficacy.docker $(DOCKER)

package-test: apt-test $(STAMP) ## The Debian package in the lab: installed, upgraded, removed, purged; its timers under systemd; on both kernels
	@PHOENIX_PACKAGE=1 $(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) tests/lab/test_package.py tests/lab/test_timers.py

corpus-test: apt-test $(STAMP) ## Real denials by every way that a log knows, read again, on both kernels
	@PHOENIX_CORPUS=1 $(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) tests/lab/test_denials.py

moving-test: apt-test $(STAMP) ## Debian's releases in the making, all of them (`make test` asks the newest)
	@PHOENIX_MOVING=1 $(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) tests/lab/test_moving.py

trial-test: apt-test $(STAMP) ## A guest full of services on trial, its report accepted, and its dangers, on both kernels (an hour)
	@PHOENIX_TRIALS=1 $(VENV)/bin/python -m pytest -s $(SIDE_BY_SIDE) tests/lab/test_trial_of_services.py

gpu-table: apt-test $(STAMP) ## `phoenix gpu` beside both kernels on every configuration of its table (half an hour)
	@PHOENIX_GPU_TABLE=1 $(VENV)/bin/python -m pytest -s $(SIDE_BY_SIDE) tests/lab/test_gpu.py

workloads: apt-test $(STAMP) ## Guests full of ordinary services under every profile, in the lab (an hour a release); writes docs/workloads.md and .json
	@PYTHONPATH=src:. $(VENV)/bin/python -m workloads $(WORKLOADS)
