# syntax=docker/dockerfile:1
#
# An image with one static program in it. See docs/installation.md.
#
#   docker build --tag pulsegate:0.1.0 \
#     --build-arg PULSEGATE_REVISION="$(git rev-parse --short=12 HEAD)" \
#     --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" .
#
# For another processor: --platform linux/arm64. It is cross-compiled, so no emulator is needed.

# The compiler that releases are built with: the same bytes need the same one.
ARG RUST=1.95.0

FROM --platform=$BUILDPLATFORM docker.io/library/rust:${RUST}-slim-bookworm AS build
# What packaging/build needs; what it makes does not depend on their versions.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /pulsegate
COPY . .
ARG TARGETARCH
ARG PULSEGATE_REVISION=unknown
ARG SOURCE_DATE_EPOCH=0
# /tmp is for the programs that checks run, where checks run any.
RUN packaging/build "$TARGETARCH" \
    && install -D --mode=755 "target/static/$TARGETARCH/pulsegate" /image/usr/local/bin/pulsegate \
    && install -D --mode=644 packaging/pulsegate.toml /image/etc/pulsegate/pulsegate.toml \
    && install -D --mode=644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && install --directory --mode=1777 /image/tmp

FROM scratch
ARG PULSEGATE_REVISION=unknown
LABEL org.opencontainers.image.title="pulsegate" \
      org.opencontainers.image.description="A reverse-proxy sidecar that makes an app's health trustworthy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$PULSEGATE_REVISION"
COPY --from=build /image /
ENV PATH=/usr/local/bin \
    PULSEGATE_CONFIG=/etc/pulsegate/pulsegate.toml
# By number, which Kubernetes can tell from root.
USER 65532:65532
EXPOSE 8000 9000
# What load balancers are told. Swarm replaces what is unhealthy: give it /livez there.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=2 CMD ["pulsegate", "probe", "/readyz"]
ENTRYPOINT ["pulsegate"]
CMD ["run"]
