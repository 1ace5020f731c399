# One image for all services: `gsc-stream producer | fetcher | sink`. It runs as user 10001 with a read-only root file system and
# writes only to /tmp.
ARG PYTHON=python:3.13-slim-trixie
ARG UV=ghcr.io/astral-sh/uv:0.13.9

FROM ${UV} AS uv

FROM ${PYTHON} AS build
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/gsc-stream
WORKDIR /src
# Dependencies first: they change less often than the code.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-default-groups --no-install-project
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-default-groups --no-editable

FROM ${PYTHON} AS runtime
LABEL org.opencontainers.image.title="gsc-stream" \
      org.opencontainers.image.description="Google Search Console's Search Analytics in your own PostgreSQL" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 gsc && useradd --uid 10001 --gid gsc --no-create-home --shell /usr/sbin/nologin gsc \
    && install --directory --owner gsc --group gsc /etc/gsc-stream
COPY --from=build /opt/gsc-stream /opt/gsc-stream
ENV PATH=/opt/gsc-stream/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    GSC_CATALOG=/etc/gsc-stream/catalog.yaml GSC_LOG_FORMAT=json
WORKDIR /tmp
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["gsc-stream"]
CMD ["--help"]
