VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUILD   := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X kedge/appliance/node.version=$(VERSION)"
ENGINE  ?= $(shell command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1 && echo docker || echo podman)
IMAGE   ?= kedge:latest
ARCHES  := amd64 arm64 arm mipsle

.PHONY: kedge test vet lint fuzz bench throughput cross image clean

kedge:
	$(BUILD) -o kedge .

test:
	go test -race -shuffle=on ./...

vet:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...

lint: vet
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

# Every fuzz target for FUZZTIME.
FUZZTIME ?= 20s
fuzz:
	@set -e; for p in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "== $$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p; \
	  done; \
	done

bench:
	go test -run '^$$' -bench . -benchmem ./...

# The comparison with plain forwarding and wireguard-go, with more options in THROUGHPUT; half an hour.
throughput: kedge
	@mkdir -p out
	./kedge lab throughput --markdown out/throughput.md $(THROUGHPUT)

# Static binaries for every architecture we promise, and their sizes.
cross:
	@mkdir -p out/bin
	@set -e; for a in $(ARCHES); do GOOS=linux GOARCH=$$a GOARM=7 GOMIPS=softfloat $(BUILD) -o out/bin/kedge-linux-$$a .; done
	@ls -l out/bin | awk 'NR>1 {printf "%-24s %.1f MB\n", $$9, $$5/1e6}'

# With Go on the host nothing is pulled; without, the Dockerfile builds with an image that has Go.
image:
ifneq ($(shell command -v go 2>/dev/null),)
	@rm -rf out/image && mkdir -p out/image/etc/kedge out/image/run/kedge out/image/var/lib/kedge out/image/usr/bin
	GOOS=linux $(BUILD) -o out/image/usr/bin/kedge .
	$(ENGINE) build --target packed -t $(IMAGE) .
else
	$(ENGINE) build --build-arg VERSION=$(VERSION) -t $(IMAGE) .
endif

clean:
	rm -rf kedge out
