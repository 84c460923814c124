# What CI runs is `make check`; see .ci/run.

GO       ?= go
LINT     := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# The example with an extension needs its module built: make gate does so in a copy.
EXTENDED := policies/examples/ticket/
EXAMPLES := $(filter-out $(EXTENDED),$(wildcard policies/examples/*/))
FUZZTIME ?= 10s
INPUTS   ?= 1020000

.PHONY: check test build lint fmt race kernel gate differential hsm e2e bench compare mutate corpus fuzz

check: build test lint race kernel gate differential hsm e2e

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

# All but the end-to-end tests, which run the program as it is built, and those of
# the sandbox, whose code runs in processes of its own. A decision takes ten times as
# long here, so that fewer are made than by `make test`; tests that wait for a disk or
# for a process do so beside each other. `make lint` has vetted them.
race:
	CGO_ENABLED=1 OPENCODE_TEST_INPUTS=5000 $(GO) test -race -vet=off -parallel 6 $$($(GO) list ./... | grep -v -e '/e2e$$' -e '/agent/sandbox$$')

# What the kernel holds, on a machine that can hold all of it.
kernel:
	OPENCODE_TEST_E2E=1 $(GO) test -count=1 ./agent/sandbox

# Keys in an HSM, with a real implementation of PKCS#11; it needs a C compiler
# and softhsm2.
hsm:
	CGO_ENABLED=1 $(GO) vet -tags pkcs11 ./store/vault ./cmd/opencode
	$(LINT) run --build-tags pkcs11 ./store/vault
	CGO_ENABLED=1 OPENCODE_TEST_E2E=1 $(GO) test -tags pkcs11 -count=1 ./store/vault

# The real clients against the program; it needs node, npm, tmux and git.
e2e:
	OPENCODE_TEST_E2E=1 $(GO) test -count=1 -parallel 3 -timeout 20m ./e2e

# The Rego gate: the default policy and every example, by our own commands.
gate: build
	bin/opencode policy fmt --check policies
	bin/opencode policy lint
	bin/opencode policy test --threshold 100
	@set -e; for dir in $(EXAMPLES); do \
		echo "$$dir"; \
		bin/opencode policy lint "$$dir"; \
		bin/opencode policy test "$$dir" --threshold 100; \
		bin/opencode policy test "$$dir" --mutate --threshold 100; \
	done
	@set -e; copy=$$(mktemp -d); trap 'rm -rf "$$copy"' EXIT; \
	for dir in $(EXTENDED); do \
		echo "$$dir"; \
		policy=$$copy/$$(basename $$dir); \
		cp -R "$$dir" "$$policy"; \
		for module in "$$policy"/ext/*/; do $(GO) generate -C "$$module"; done; \
		bin/opencode policy ext pack "$$policy"; \
		bin/opencode policy lint "$$policy"; \
		bin/opencode policy test "$$policy" --threshold 100; \
	done

# Inputs that are decided with the cache and without, and by every rule where
# there is a short way.
differential:
	OPENCODE_TEST_INPUTS=$(INPUTS) $(GO) test ./engine -run 'TestCacheMakesNoDifference|TestShortWaysAreTheRules' -count=1 -timeout 20m

# Which conditions of the default policy no test in Rego would miss. It takes a
# minute and a half.
mutate: build
	bin/opencode policy test --mutate --threshold 99

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Side by side: ripgrep, the server of the npm package opencode-ai, and our engine
# with `opa run` and with @open-policy-agent/opa-wasm.
compare:
	OPENCODE_TEST_COMPARE=1 $(GO) test ./agent/tool -run TestSearchBesideRipgrep -count=1 -v
	OPENCODE_TEST_E2E=1 OPENCODE_TEST_COMPARE=1 $(GO) test ./e2e -run TestCompare -count=1 -v

# Every command of the corpus of banned ones is run, without the kernel's ban and
# with it. It needs the programs of policy/shell/testdata/corpus/packages.txt, which
# .ci/run installs, and takes some minutes; CI runs every 24th.
corpus:
	OPENCODE_TEST_E2E=1 OPENCODE_TEST_CORPUS=all $(GO) test ./agent/sandbox -run 'Corpus$$' -count=1 -parallel 6 -v -timeout 20m

# Each fuzz target for FUZZTIME.
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done
