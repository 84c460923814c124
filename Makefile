# What CI runs is `make check`; see .ci/run.

GO       ?= go
LINT     := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
EXAMPLES := $(wildcard policies/examples/*/)
FUZZTIME ?= 10s

.PHONY: check test build lint fmt race gate bench fuzz

check: build test lint race gate

# One static binary.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/opencode ./cmd/opencode

test:
	$(GO) test ./...

lint:
	$(GO) vet ./...
	$(LINT) run
	$(LINT) fmt --diff

fmt:
	$(LINT) fmt
	$(GO) run ./cmd/opencode policy fmt policies

race:
	CGO_ENABLED=1 $(GO) test -race ./...

# The Rego gate: the default policy and every example, by our own commands.
gate: build
	bin/opencode policy fmt --check policies
	bin/opencode policy lint
	bin/opencode policy test --threshold 100
	@set -e; for dir in $(EXAMPLES); do \
		echo "$$dir"; \
		bin/opencode policy lint "$$dir"; \
		bin/opencode policy test "$$dir" --threshold 100; \
	done

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Each fuzz target for FUZZTIME.
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done
