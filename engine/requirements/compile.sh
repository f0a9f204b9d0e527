#!/bin/sh
# Compiles the locks: every version with its hashes, no index address, nothing younger than two weeks.
# usage: engine/requirements/compile.sh   (needs the environment of `make setup`)
set -eu
cd "$(dirname "$0")"
cutoff=$(date -u -d '14 days ago' +%Y-%m-%dT00:00:00Z)
echo "torch; sys_platform == 'never'" > .no-torch   # torch has a build of its own on every platform: torch.in
compile() {
    ../../.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-emit-index-url --no-emit-find-links --exclude-newer "$cutoff" "$@"
}
compile dev.in --excludes serve.exclude -o dev.txt
compile bootstrap.in -c dev.txt -o bootstrap.txt
compile serve.in --excludes serve.exclude -c dev.txt -o serve.txt
cat serve.exclude try.exclude > .try-exclude
compile try.in --excludes .try-exclude -c dev.txt -o try.txt
cat serve.exclude release.exclude > .release-exclude
compile release.in --excludes .release-exclude -c dev.txt -o release.txt
compile load.in -c dev.txt -o load.txt
compile image-build.in -c dev.txt -o image-build.txt
compile scan.in -o scan.txt
# What an extra needs is locked in its own folder, as far as it is there.
extra() {
    folder=../src/sluice/extras/$1/requirements
    lock=$2
    shift 2
    if [ -d "$folder" ]; then compile "$folder/$lock.in" "$@" -o "$folder/$lock.txt"; fi
}
extra finetune train -c dev.txt --override .no-torch
extra finetune qlora --no-deps
extra guard corpora --no-deps
extra sagemaker sagemaker
extra sagemaker mlflow --no-deps
extra redteam redteam --excludes ../src/sluice/extras/redteam/requirements/redteam.exclude
rm .no-torch .try-exclude .release-exclude
