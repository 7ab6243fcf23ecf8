# The program on Debian's slim image, as a user of its own. README, "Deploying", has the commands to build and run it.

# The compiler that the profile in scripts/profile is of.
FROM rust:1.95.0-bookworm AS build
WORKDIR /build
# .dockerignore tells what this is.
COPY . .
# Nothing of the repository is here to ask; left out, the build is of commit `unknown`.
ARG GREENROOM_COMMIT
RUN cargo build --locked --release --bin greenroom

FROM debian:bookworm-slim
# Backends' certificates are checked against the system's roots.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=65532 --group=65532 /var/lib/greenroom
COPY --from=build /build/target/release/greenroom /usr/local/bin/

# A number, so that an orchestrator can see for itself that it is not root.
USER 65532:65532
# Loopback is nobody's but the container's own: this outranks `server.bind` of the settings, and `--bind` outranks both.
ENV GREENROOM__SERVER__BIND=0.0.0.0:3000
# Where history is kept, unless `history.path` says otherwise.
ENV XDG_DATA_HOME=/var/lib/greenroom
VOLUME /var/lib/greenroom
EXPOSE 3000
# Named, or Docker takes a reload's signal for this one, and restarts nothing any more.
STOPSIGNAL SIGTERM
ENTRYPOINT ["greenroom"]
CMD ["serve", "--config", "/etc/greenroom/greenroom.toml"]

ARG GREENROOM_COMMIT
LABEL org.opencontainers.image.title="greenroom" \
      org.opencontainers.image.description="An actor-based LLM proxy: one OpenAI-compatible address in front of many supervised backends" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$GREENROOM_COMMIT"
