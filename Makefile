# Everything a developer does, by name. `make help` lists it. Needs git, make and Python 3.13; installs the rest here.

PYTHON ?= python3.13
ARCHITECTURE ?= arm64
ENVIRONMENT ?= default
MACHINE := $(if $(filter arm64 aarch64,$(shell uname -m)),arm64,x86_64)

VENV := .venv
SAM := .tools/sam
MINISTACK := .tools/ministack
BENCH := .tools/bench
SCAN := .tools/scan
ALERTMANAGER := .tools/alertmanager
IAM := .tools/iam
LOCAL_BUILD := .aws-sam/local
SOURCES := $(shell find src -type f -not -path '*/__pycache__/*') template.yaml

export SAM_CLI_TELEMETRY := 0
export PYTHONDONTWRITEBYTECODE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
run_sam := PATH="$(CURDIR)/$(SAM)/bin:$$PATH" sam

# the routing key reaches recipes by the environment alone: what stands in a recipe is visible to every user of the machine
deploy_to = PATH="$(CURDIR)/$(SAM)/bin:$$PATH" $(PYTHON) -m tools.deploy --environment $(ENVIRONMENT) --architecture $(ARCHITECTURE)

# what operators run against a deployed stack; what they name reaches the shell by the environment, whatever is in it
tool = PYTHONPATH=src $(VENV)/bin/python -m tools
in_stack = $(if $(STACK),--stack="$$STACK")
# some systems have a variable NAME: it counts where no KEY is given, or where it stands on the command line
named = $(if $(KEY),$(filter command,$(origin NAME)),yes)
export STACK TARGET SEVERITY KEY NAME SINCE TARGETS EXPECT ALARMS

.DEFAULT_GOAL := help
.PHONY: help run test unit lint format build package invoke deploy deployable python bench proofs mutants redrive page trace route doctor scan lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

run: $(VENV)/.installed $(MINISTACK)/.installed $(LOCAL_BUILD)/template.yaml ## deploy to an emulator, send alerts, show what PagerDuty got [KEEP=1]; ROUTING_KEY in the environment: send to the real PagerDuty [BASE_URL=...]
	@KEEP="$(KEEP)" BASE_URL="$(BASE_URL)" PYTHONPATH=src $(VENV)/bin/python -m local.demo

test: $(VENV)/.installed $(MINISTACK)/.installed $(ALERTMANAGER)/.installed $(IAM)/.installed $(LOCAL_BUILD)/template.yaml ## unit, integration and end-to-end tests
	$(VENV)/bin/pytest

unit: $(VENV)/.installed ## the unit tests alone, in seconds
	$(VENV)/bin/pytest tests/unit

lint: $(VENV)/.installed $(SAM)/.installed ## ruff, mypy --strict, sam validate --lint
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy src/handler src/package local tools tests benchmarks
	$(run_sam) validate --lint --region us-east-1 --template template.yaml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yml

format: $(VENV)/.installed ## fix what ruff can fix
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

build: $(SAM)/.installed ## sam build, for arm64 unless told otherwise [ARCHITECTURE=x86_64]
	$(run_sam) build --parameter-overrides Architecture=$(ARCHITECTURE)

package: ## make a release in dist/: zip files for both processors, templates, bill of materials, digests
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.13, or name it with PYTHON=..." >&2; exit 1; }
	@rm -rf dist
	@PYTHONPATH=src $(PYTHON) -m package.release dist

invoke: $(VENV)/.installed $(MINISTACK)/.installed $(LOCAL_BUILD)/template.yaml ## run the function in a container on an event: EVENT=events/....json (needs Docker)
	@$(if $(EVENT),,$(error name an event: make invoke EVENT=$(firstword $(wildcard events/*.json))))
	@PYTHONPATH=src $(VENV)/bin/python -m local.invoke $(EVENT)

# where AWS_ENDPOINT_URL names this machine, to the stack of `make run KEEP=1`
ifneq ($(filter http://127.0.0.1:%,$(AWS_ENDPOINT_URL)),)
deploy: deployable $(VENV)/.installed $(LOCAL_BUILD)/template.yaml
	@PARAMETERS='$(PARAMETERS)' PYTHONPATH=src $(VENV)/bin/python -m local.deploy --environment $(ENVIRONMENT) $(if $(filter no,$(CONFIRM)),--no-confirm)
else
deploy: deployable build ## deploy to AWS; asks for ROUTING_KEY and OPERATOR_EMAIL unless they are in the environment [ENVIRONMENT=default|staging|production] [PARAMETERS="Name=value ..."] [ARCHITECTURE=...] [CONFIRM=no]
	@PARAMETERS='$(PARAMETERS)' $(deploy_to) $(if $(filter no,$(CONFIRM)),--no-confirm)
endif

deployable: python
	@$(deploy_to) --check

python:
	$(supported_python)

bench: $(VENV)/.installed $(BENCH)/.installed $(LOCAL_BUILD)/template.yaml ## measure against bare functions, other clients and an ideal queue
	@PYTHONPATH=src $(VENV)/bin/python -m benchmarks

proofs: $(VENV)/.installed ## every interleaving, and more random runs and damaged inputs than make test [EXAMPLES=100], within an hour [SEEDS=10000]
	@PROOFS_EXAMPLES=$(or $(EXAMPLES),100) HOSTILE_EXAMPLES=$(or $(EXAMPLES),100) PROOFS_SEEDS=$(or $(SEEDS),10000) $(VENV)/bin/pytest tests/proofs tests/unit/test_hostile.py

mutants: $(VENV)/.installed ## break each rule of claims and deliveries once, and see a test fail
	@$(VENV)/bin/python tests/proofs/mutants.py

redrive: $(VENV)/.installed ## send what is in the dead-letter queue through again [STACK=pagerduty-publisher] [DRY_RUN=1] [ERROR_TYPE=...] [MAX=...]
	@$(tool).redrive $(in_stack) $(if $(filter-out 0,$(DRY_RUN)),--dry-run) $(if $(ERROR_TYPE),--error-type "$(ERROR_TYPE)") $(if $(MAX),--max "$(MAX)")

page: $(VENV)/.installed ## send a test page through a deployed stack, and resolve it: TARGET=name [SEVERITY=...] [STACK=...]
	@$(if $(TARGET),,$(error name a target: make page TARGET=... [SEVERITY=critical]))
	@$(tool).page $(in_stack) --target="$$TARGET" $(if $(SEVERITY),--severity="$$SEVERITY")

trace: $(VENV)/.installed ## what became of an alert: KEY=dedup-key or NAME=alert [SINCE=1h] [STACK=...]
	@$(if $(KEY)$(NAME),,$(error name an alert: make trace KEY=dedup-key or NAME=alert-name [SINCE=1h]))
	@$(tool).trace $(in_stack) $(if $(KEY),--key="$$KEY") $(if $(and $(NAME),$(named)),--name="$$NAME") $(if $(SINCE),--since="$$SINCE")

route: $(VENV)/.installed ## who would get an event; nothing is sent: EVENT=file [TARGETS=file] [EXPECT=routes.yaml] [STACK=...]
	@$(if $(EVENT)$(EXPECT),,$(error name an event: make route EVENT=$(firstword $(wildcard events/*.json)), or EXPECT=routes.yaml))
	@$(tool).route $(in_stack) $(if $(TARGETS),--targets="$$TARGETS") $(if $(EXPECT),--expect="$$EXPECT") $(EVENT)

doctor: $(VENV)/.installed ## find what would keep an alarm from paging, each with the command that repairs it [STACK=...] [ALARMS=beginning-of-names]
	@$(tool).doctor $(in_stack) $(if $(ALARMS),--alarms="$$ALARMS")

scan: $(SCAN)/.installed ## look for misconfigurations of the template, secrets in the whole history, known vulnerabilities of the packages
	$(SCAN)/bin/checkov --config-file .checkov.yaml
	$(SCAN)/bin/python -m tools.leaks
	$(SCAN)/bin/python -m tools.audit

lock: ## pin the newest versions that fit, with their hashes
	$(PYTHON) -m venv --clear .tools/lock
	.tools/lock/bin/pip install -q --only-binary=:all: --require-hashes -r requirements/lock.txt
	for name in src/requirements requirements/dev requirements/sam requirements/ministack requirements/bench requirements/scan requirements/lock; do \
	  .tools/lock/bin/pip-compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-trusted-host \
	    --no-emit-find-links --strip-extras --no-header --allow-unsafe -o $$name.txt $$name.in || exit 1; done

clean: ## delete everything that was made here
	rm -rf .aws-sam dist .tools .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# --- installing the tools ---

define supported_python
@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.13, or name it with PYTHON=..." >&2; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 13))' || { echo "$(PYTHON) is $$($(PYTHON) --version): Python 3.13 or newer is needed; name it with PYTHON=..." >&2; exit 1; }
endef

define environment
$(supported_python)
@echo "installing $< ..."
@$(PYTHON) -m venv --clear $(@D)
@$(@D)/bin/python -m pip install --quiet --only-binary=:all: --require-hashes -r $< >$(@D)/install.log 2>&1 || { cat $(@D)/install.log >&2; \
  echo "the packages in $< could not be installed: is the package index reachable?" >&2; exit 1; }
@touch $@
endef

$(VENV)/.installed: requirements/dev.txt src/requirements.txt
	$(environment)

$(SAM)/.installed: requirements/sam.txt
	$(environment)

$(MINISTACK)/.installed: requirements/ministack.txt
	$(environment)

$(BENCH)/.installed: requirements/bench.txt
	$(environment)

$(SCAN)/.installed: requirements/scan.txt
	$(environment)

# Debian's package unpacked, which needs no root: where there is no apt, install Alertmanager or have its tests skipped.
# The path to its templates is made relative, at the same length, so that they are found where they were unpacked.
$(ALERTMANAGER)/.installed:
	@mkdir -p $(@D)
	@if ! { command -v prometheus-alertmanager || command -v alertmanager; } >/dev/null \
	  && { command -v apt-get && command -v dpkg-deb; } >/dev/null; then echo "unpacking prometheus-alertmanager ..."; \
	  cd $(@D) && { \
	    { apt-get download prometheus-alertmanager || { apt-get update && apt-get download prometheus-alertmanager; }; } && \
	    dpkg-deb -x prometheus-alertmanager_*.deb . && rm *.deb && \
	    LC_ALL=C sed -i 's|/usr/share/prometheus|usr//share/prometheus|g' usr/bin/prometheus-alertmanager; \
	  } >install.log 2>&1 || { cat install.log >&2; echo "no Alertmanager: its tests will be skipped" >&2; }; \
	fi
	@touch $@

# A simulator of IAM, in JavaScript, for the tests of permissions: where there is no npm, they are skipped.
$(IAM)/.installed: requirements/iam/package-lock.json
	@mkdir -p $(@D) && cp requirements/iam/package.json requirements/iam/package-lock.json $(@D)
	@if command -v npm >/dev/null; then echo "installing $< ..."; \
	  npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund >$(@D)/install.log 2>&1 || { cat $(@D)/install.log >&2; exit 1; }; \
	else echo "no npm: the tests of permissions will be skipped" >&2; fi
	@touch $@

# for the machine's own processor, beside what `make build` leaves for AWS
$(LOCAL_BUILD)/template.yaml: $(SOURCES) $(SAM)/.installed
	@echo "building the function for $(MACHINE) ..."
	@$(run_sam) build --build-dir $(LOCAL_BUILD) --parameter-overrides Architecture=$(MACHINE) >$(SAM)/build.log 2>&1 \
	  || { cat $(SAM)/build.log >&2; exit 1; }
	@touch $@
