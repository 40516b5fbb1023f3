# The front door. Every target that needs a cluster, but for shop, takes the one that KUBECONFIG names, if it is set, and
# starts one of its own otherwise.

CARGO ?= cargo
CLUSTER := .cluster
LAUNCHER := $(CARGO) run --quiet --package ringfence-cluster --
RINGFENCE := $(CARGO) run --quiet --package ringfence --

.PHONY: help demo shop test cluster cluster-down bench generate check-generated docs image fmt lint

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Start a real Kubernetes, apply the shop's policies, and show what came of them
	@examples/shop/demo

shop: ## Run the shop in pods on two nodes: both scenarios, what must fail, and Keycloak where Java is; needs root
	@examples/shop/shop

cluster: ## Start a cluster that stays up; prints the export line for kubectl
	@if [ -n "$$KUBECONFIG" ]; then echo "export KUBECONFIG=$$KUBECONFIG"; \
	elif [ "$$(id -u)" -eq 0 ]; then tests/cluster/install-packages && $(LAUNCHER) up --dir $(CLUSTER); \
	else echo "not root: the cluster gets no node, so that no pod runs" >&2; $(LAUNCHER) up --dir $(CLUSTER) --control-plane-only; fi

cluster-down: ## End that cluster, and everything in it
	@$(LAUNCHER) down --dir $(CLUSTER)

test: ## Run all tests; those that need pods need root
	@if [ "$$(id -u)" -eq 0 ]; then tests/cluster/install-packages; fi
	@logs=$$(mktemp -d) && trap 'rm -r "$$logs"' EXIT && export RINGFENCE_AUDIT_LOGS="$$logs" \
	  && $(CARGO) test --workspace && $(CARGO) test --test rights -- --ignored

bench: ## Measure against a bare client on the same machine
	$(CARGO) bench --package ringfence

generate: ## Write what is generated: CRDs, their copy in the chart, the API reference, the schema of access.json
	@mkdir -p crds docs/reference
	$(RINGFENCE) crds --directory crds
	{ echo '{{- if .Values.crds.enabled }}' && $(RINGFENCE) crds --keep && echo '{{- end }}'; } > charts/ringfence/templates/crds.yaml
	$(RINGFENCE) reference > docs/reference/api.md
	$(RINGFENCE) access-schema > docs/access.schema.json

check-generated: generate ## Fail when what is generated is not what is committed
	@git diff --exit-code -- crds charts/ringfence/templates/crds.yaml docs/reference/api.md docs/access.schema.json \
	  || { echo "generated files are out of date: run make generate and commit" >&2; exit 1; }

docs: ## Build the documentation site into target/site; what mdBook warns of fails
	@command -v mdbook >/dev/null || { echo "mdbook is not installed: cargo install mdbook" >&2; exit 1; }
	@said=$$(mdbook build 2>&1) || { echo "$$said" >&2; exit 1; }; \
	case "$$said" in *WARN*) echo "$$said" >&2; exit 1;; *) echo "target/site/index.html";; esac

image: ## Build the operator's container image, without a container engine
	@image/build

fmt: ## Format
	$(CARGO) fmt --all

lint: ## Check format, lints, and licences of dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	$(CARGO) clippy --package ringfence --no-default-features --lib --bins -- --deny warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check bans licenses sources; \
	else echo "cargo-deny is not installed: licences are not checked (cargo install cargo-deny)" >&2; fi
