# Outrigger's image. Without Docker, e2e/image makes one of the same shape.
FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist && cp target/dist/outrigger /outrigger

# No shell and no package manager: glibc and what it needs.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /outrigger /usr/local/bin/outrigger
USER 14014:14014
ENTRYPOINT ["/usr/local/bin/outrigger"]
