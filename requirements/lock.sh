#!/usr/bin/env bash
# Writes the locks anew from pyproject.toml; with --check, fails where they are not what it would write.
# A lock carries hashes and no download address. Pins stay as they are unless --upgrade is given.
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
compile() { # compile LOCK ARGUMENTS...: the lock, or the check that it is as it should be
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
compile sdk-3 requirements/sdk-3.in
exit $stale
