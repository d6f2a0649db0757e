# One static binary on an empty image. "make image" builds the binary with the host's Go, where there is one, and packs it
# (target packed, which pulls nothing); "docker build ." builds it inside.
FROM scratch AS packed
COPY out/image/kedge /kedge
ENTRYPOINT ["/kedge"]
CMD ["run", "--config", "/etc/kedge/kedge.toml"]

FROM docker.io/library/golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X kedge/appliance/node.version=${VERSION}" -o /kedge .

FROM scratch
COPY --from=build /kedge /kedge
ENTRYPOINT ["/kedge"]
CMD ["run", "--config", "/etc/kedge/kedge.toml"]
