#!/bin/sh
# Writes the three lock files. Versions stay as they are unless UPGRADE=1 is given.
# usage: tools/lock.sh path/to/uv
set -eu
uv=$1
compile() {
    # --universal: one file for every Python and platform; no registry's address is written
    "$uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
        --no-emit-index-url --no-header --no-annotate ${UPGRADE:+--upgrade} "$@" >/dev/null
}
compile --group pyproject.toml:build --output-file requirements-build.lock
compile pyproject.toml --constraints requirements-build.lock --output-file requirements.lock
compile pyproject.toml --group pyproject.toml:dev --constraints requirements-build.lock \
    --constraints requirements.lock --output-file requirements-dev.lock
