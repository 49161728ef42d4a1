# Promoter's images: the daemon, and the target `check`. For a build that is the same to the byte, pin the base by digest as well:
#   docker build --build-arg BASE=python:3.11-slim-bookworm@sha256:... .
ARG BASE=python:3.11-slim-bookworm

# What the stages that install share: pip's settings, and the empty environment that the images get.
FROM ${BASE} AS installer
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/promoter

FROM installer AS wheel
COPY requirements/build.lock requirements/
RUN pip install --require-hashes --requirement requirements/build.lock
COPY pyproject.toml README.md LICENSE registry.yaml ./
COPY policies/ policies/
COPY schemas/ schemas/
COPY promoter/ promoter/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

# Packages before the source, so that a change of the source does not install them again.
FROM installer AS packages
COPY requirements/runtime.lock requirements/
RUN pip --python /opt/promoter/bin/python install --require-hashes --requirement requirements/runtime.lock
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/promoter/bin/python install --no-deps --no-index /wheels/*.whl

FROM installer AS check-packages
COPY requirements/check.lock requirements/
RUN pip --python /opt/promoter/bin/python install --require-hashes --requirement requirements/check.lock
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/promoter/bin/python install --no-deps --no-index /wheels/*.whl

# Only what checks files, for CI: no MLflow, no server, no git.
#   docker build --target check --tag promoter-check . && docker run --rm --volume "$PWD:/repository:ro" promoter-check policy test
FROM ${BASE} AS check
COPY --from=check-packages /opt/promoter /opt/promoter
ENV PATH=/opt/promoter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /repository
USER 10001:10001
ENTRYPOINT ["promoter"]
CMD ["validate"]

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Promoter" \
      org.opencontainers.image.description="GitOps for the MLflow model registry" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN apt-get update \
 && apt-get install --yes --no-install-recommends bubblewrap ca-certificates git gnupg openssh-client \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/promoter --shell /usr/sbin/nologin promoter \
 && install --directory --owner=promoter --group=promoter --mode=0700 /var/lib/promoter
COPY --from=packages /opt/promoter /opt/promoter
# The daemon listens on every address of its container, has no sign-in, and starts only with PROMOTER_ALLOW_ANONYMOUS=true. Set
# that where nobody reaches the container who may not read everything.
# The image can run with a read-only root and a /tmp in memory: only the volume is written to (database, git mirror).
ENV PATH=/opt/promoter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/promoter \
    PROMOTER_LISTEN=0.0.0.0:8080 \
    PROMOTER_DATABASE_URL=sqlite:////var/lib/promoter/promoter.db
WORKDIR /var/lib/promoter
VOLUME /var/lib/promoter
USER promoter
EXPOSE 8080
# Without the proxy that the environment may name: this asks the container itself.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
  "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['PROMOTER_LISTEN'].rpartition(':')[2] + '/healthz', timeout=4)"]
ENTRYPOINT ["promoter"]
CMD ["serve"]
