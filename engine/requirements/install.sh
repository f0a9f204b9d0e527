#!/bin/sh
# Installs one lock by hash into a virtual environment of its own, as an image holds it, and lists it in an SBOM there.
# usage: engine/requirements/install.sh LOCK FOLDER   (a step of the Containerfile; needs its tools/)
set -eu
tools/bin/uv venv --quiet --python "$(command -v python3)" "$2"
tools/bin/uv pip install --quiet --python "$2/bin/python" --no-deps --require-hashes -r "$1"
# Bytecode goes by the hash of its source: by its time it would be stale, for every file in the image has the same time.
"$2/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$2/lib"
tools/bin/cyclonedx-py environment --output-reproducible --pyproject requirements/pyproject.toml \
    --output-file "$2/sbom.cdx.json" "$2/bin/python"
