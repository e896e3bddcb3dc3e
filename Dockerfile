# Outrigger's image. Without Docker, e2e/image makes one of the same shape.
FROM rust:1-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist && cp target/dist/outrigger /outrigger && \
    scripts/sbom > /sbom.cdx.json

# No shell and no package manager: glibc and what it needs.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /outrigger /usr/local/bin/outrigger
COPY --from=build /sbom.cdx.json /usr/share/doc/outrigger/sbom.cdx.json
USER 14014:14014
ENTRYPOINT ["/usr/local/bin/outrigger"]
