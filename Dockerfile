# Three images of one file, by --target: api, webhooks, worker. docs/images.md says how to use them.
# The bases are args, so that a mirror or a digest (python@sha256:…) can be named instead.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
# "base" is the CUDA runtime with the variables that have the driver mounted, and no more: cuBLAS,
# cuDNN and NCCL come with torch's wheels, and would be here a second time. For a library that looks
# for those of the system, name a "-runtime-" or "-cudnn-runtime-" image of the same distribution.
ARG CUDA_IMAGE=nvidia/cuda:12.9.1-base-ubuntu24.04


# The wheel. What builds it stays in this stage.
FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY constraints.txt ./
RUN python3 -m venv /build \
    && /build/bin/pip install --no-cache-dir -c constraints.txt hatchling
COPY pyproject.toml README.md LICENSE ./
COPY api ./api
COPY egress ./egress
COPY headrace ./headrace
COPY jobs ./jobs
COPY model_store ./model_store
COPY telemetry ./telemetry
COPY webhooks ./webhooks
COPY worker ./worker
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist .


# Only wheels: what would need a compiler is refused here, and not found missing later.
FROM wheel AS server
RUN python3 -m venv --without-pip /opt/headrace \
    && /build/bin/pip --python /opt/headrace/bin/python install --no-cache-dir \
        --only-binary=:all: -c constraints.txt "$(echo /dist/headrace-*.whl)[server,otel]"


FROM ${PYTHON_IMAGE} AS slim
# What serves requests installs nothing: neither pip nor the copy that ensurepip holds.
RUN python3 -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && rm -r "$(python3 -P -c 'import ensurepip; print(*ensurepip.__path__)')"
# A name for the number: libraries ask for it, and fail where there is none.
RUN echo 'headrace:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'headrace:x:10001:' >> /etc/group
COPY --from=server /opt/headrace /opt/headrace
# Packages are flat: no file of the folder one happens to be in may stand in for one of them.
# /tmp is all that is written to, so that everything else can be mounted read-only.
ENV PATH=/opt/headrace/bin:$PATH \
    HOME=/tmp \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
ENTRYPOINT ["headrace"]


FROM slim AS api
ENV HEADRACE_API_HOST=0.0.0.0 \
    HEADRACE_METRICS_PORT=9100
EXPOSE 8000 9100
CMD ["api"]


FROM slim AS webhooks
ENV HEADRACE_METRICS_PORT=9101 \
    HEADRACE_PROBE_HOST=0.0.0.0
EXPOSE 9101
CMD ["webhooks", "run"]


FROM ${CUDA_IMAGE} AS cuda
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*


FROM cuda AS engine
COPY --from=wheel /dist /dist
COPY constraints.txt /dist/
# The list is for the model's own packages: they may not change what Headrace was tested with.
RUN python3 -m venv /opt/headrace \
    && /opt/headrace/bin/pip install --no-cache-dir --only-binary=:all: -c /dist/constraints.txt \
        "$(echo /dist/headrace-*.whl)[worker,otel]" \
    && /opt/headrace/bin/pip freeze --exclude headrace > /opt/headrace/constraints.txt


FROM cuda AS worker
RUN echo 'headrace:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'headrace:x:10001:' >> /etc/group
# pip is here, and the folder the user's, so that an image for a model is FROM, COPY and
# RUN pip install, with no change of user. At run time the root is to be read-only.
COPY --from=engine --chown=10001:10001 /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH \
    HOME=/tmp \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PIP_CONSTRAINT=/opt/headrace/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    HEADRACE_DATA_DIR=/tmp/headrace \
    HEADRACE_WORKER_PORT=9110 \
    HEADRACE_PROBE_HOST=0.0.0.0
EXPOSE 9110
USER 10001:10001
ENTRYPOINT ["headrace"]
CMD ["worker"]
