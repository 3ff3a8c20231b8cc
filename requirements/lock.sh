#!/usr/bin/env bash
# Write the lock files from pyproject.toml; with --check, fail if they are not up to date.
# They hold hashes and no download addresses. Versions stay as they are without --upgrade.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
check=false upgrade=()
for option in "$@"; do
  case $option in
    --check) check=true ;;
    --upgrade) upgrade=(--upgrade) ;;
    *) echo "usage: requirements/lock.sh [--check | --upgrade]" >&2; exit 2 ;;
  esac
done

stale=0
compile() { # compile LOCK ARGUMENTS...: write requirements/LOCK.txt, or check it
  local lock=requirements/$1.txt target=requirements/$1.txt
  shift
  if $check; then
    target=$(mktemp)
    cp "$lock" "$target"
  fi
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --custom-compile-command "make lock" "${upgrade[@]}" --output-file "$target" "$@" >/dev/null
  if $check; then
    if ! diff -q "$lock" "$target" >/dev/null; then
      echo "$lock is not up to date with pyproject.toml: run make lock" >&2
      stale=1
    fi
    rm -f "$target"
  fi
}

compile serve pyproject.toml --extra local --group build
compile dev pyproject.toml --extra local --group build --group dev --constraint requirements/serve.txt
compile uv requirements/uv.in
compile local-weights requirements/local-weights.in --no-deps
compile sdk-1 requirements/sdk-1.in
compile sdk-1.20 requirements/sdk-1.20.in
compile sdk-3 requirements/sdk-3.in
compile astra-assistants requirements/astra-assistants.in
compile sandbox requirements/sandbox.in
for client in requirements/client-*.in; do
  compile "$(basename "$client" .in)" "$client"
done
exit $stale
