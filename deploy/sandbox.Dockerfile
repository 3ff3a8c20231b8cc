# The Python that runs models' code under an OCI runtime (ASTROLABE_SANDBOX=docker). Build from the checkout's root:
#   docker build -f deploy/sandbox.Dockerfile -t astrolabe-sandbox .
# and set ASTROLABE_SANDBOX_IMAGE=astrolabe-sandbox. The bridge to the server is no part of it.
FROM python:3.13-slim
COPY requirements/uv.txt requirements/sandbox.txt /requirements/
RUN python -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --require-hashes -r /requirements/uv.txt \
 && /opt/uv/bin/uv pip install --python /usr/local/bin/python3 --system --no-cache --compile-bytecode \
    --require-hashes -r /requirements/sandbox.txt \
 && MPLCONFIGDIR=/usr/local/share/matplotlib-cache python3 -c "import matplotlib.font_manager" \
 && rm -rf /opt/uv /requirements
USER 65532:65532
