# `sam build` runs this in a copy of src/, by way of the Makefile of the architecture asked for: see the function's
# Metadata in template.yaml.

PYTHON ?= python3.13
# not the copy: version managers look for .python-version from there upwards
HERE := $(dir $(abspath $(firstword $(MAKEFILE_LIST))))

.PHONY: build-PublisherFunction
build-PublisherFunction:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.13, or name it with PYTHON=..." >&2; exit 1; }
	@cd "$(HERE)" && $(PYTHON) -I "$(CURDIR)/package/build.py" $(FUNCTION_ARCHITECTURE) "$(ARTIFACTS_DIR)"
