# One static binary on an empty image, with the directories that a node writes to, so that it needs no capability to make
# them. "make image" builds the binary with the host's Go, where there is one, and packs out/image (target packed, which
# pulls nothing); "docker build ." builds it inside.
FROM scratch AS base
ENV PATH=/usr/bin
ENTRYPOINT ["kedge"]
CMD ["run"]

FROM base AS packed
COPY out/image /

FROM docker.io/library/golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X kedge/appliance/node.version=${VERSION}" -o /image/usr/bin/kedge . \
 && mkdir -p /image/etc/kedge /image/run/kedge /image/var/lib/kedge

FROM base
COPY --from=build /image /
