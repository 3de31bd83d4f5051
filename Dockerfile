# syntax=docker/dockerfile:1
# The gateway's image: one static program, the system's root certificates, a user and an empty directory for the store.
#
#   docker build -t ort-gateway .
#
# The version stands in the program because Go reads it from the repository (`ort-gateway version`): .git belongs to the
# context, and a build from an archive, or from a worktree whose .git is a file, stops. GO_IMAGE may name an exact release of
# Go; two builds of one commit with the same one give the same bytes. SOURCE_DATE_EPOCH is the date of the files, and of the
# image where the builder takes it from there.
ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
# Empty with builders that know no platforms: then the machine's own.
ARG TARGETOS
ARG TARGETARCH
# -w leaves out what debuggers read, but not the symbols, by which govulncheck knows which code is in the program.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOOS="${TARGETOS:-linux}" GOARCH="${TARGETARCH:-$(go env GOHOSTARCH)}" \
    go build -trimpath -buildvcs=true -ldflags=-w -o /out/root/ort-gateway ./cmd/ort-gateway \
    && case "$(go version -m /out/root/ort-gateway)" in *vcs.revision=*) ;; \
       *) echo 'The program would not know its version: build from a clone, with its .git directory' >&2; exit 1 ;; esac
# What else the image holds. /data stands apart: it alone belongs to the user.
ARG SOURCE_DATE_EPOCH=0
RUN mkdir -p /out/root/etc/ssl/certs /out/volume/data \
    && cp -L /etc/ssl/certs/ca-certificates.crt /out/root/etc/ssl/certs/ \
    && echo 'nonroot:x:65532:65532:ort-gateway:/data:/sbin/nologin' >/out/root/etc/passwd \
    && echo 'nonroot:x:65532:' >/out/root/etc/group \
    && chmod -R u=rwX,go=rX /out/root && chmod 0755 /out/root/ort-gateway && chmod 0700 /out/volume/data \
    && find /out -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} +

FROM scratch
COPY --from=build /out/root/ /
COPY --from=build --chown=65532:65532 /out/volume/ /
# The root may be read-only, but for the store's volume.
ENV ORT_STORE_URL=bolt:/data/ort-sessions.db
VOLUME /data
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["/ort-gateway", "ready"]
ENTRYPOINT ["/ort-gateway"]
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ort-gateway" \
      org.opencontainers.image.description="Online refresh tokens in front of an OpenID Provider" \
      org.opencontainers.image.source="https://github.com/ort-gateway/ort-gateway" \
      org.opencontainers.image.documentation="https://github.com/ort-gateway/ort-gateway#readme" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
