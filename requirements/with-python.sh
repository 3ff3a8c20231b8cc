#!/usr/bin/env bash
# Run the tests that need no server, no Cassandra and no model on one version of Python.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?usage: requirements/with-python.sh 3.12}
uv=${UV:-.venv/bin/uv}
environment=.venvs/python-$version
python=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python 2>/dev/null | sort -V | tail -1 || true)
python=${python:-python$version}
if [ ! -f "$environment/.ready" ] || [ requirements/dev.txt -nt "$environment/.ready" ]; then
  echo "Making $environment"
  "$uv" venv --quiet --clear --python "$python" "$environment"
  "$uv" pip install --quiet --python "$environment/bin/python" --require-hashes -r requirements/dev.txt
  "$uv" pip install --quiet --python "$environment/bin/python" --no-deps --no-build-isolation --editable .
  touch "$environment/.ready"
fi
"$environment/bin/python" --version
"$environment/bin/python" -m pytest --quiet -n 2 --dist worksteal -m "not server and not cassandra and not cluster and not slow" \
  tests/spec tests/contract tests/persistence tests/serving tests/handlers tests/inference/gateway tests/inference/engine
