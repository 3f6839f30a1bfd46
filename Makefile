# Verbs only: what they do is in playbooks/ and in scripts/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
LAB ?= istio-lab
INVENTORY ?= kind
ENTRY ?= reviews-80-20
VARIANT ?= policy
WHERE ?= local
WORKERS ?= 2
BIN := .venv/bin
PLAY := $(BIN)/ansible-playbook --inventory inventories/$(INVENTORY) --extra-vars lab_name=$(LAB) $(ARGS)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help lab unbundle bundle load policy catalogue verify latency telemetry open explain docs test test-full lint unit bench destroy env lock

help: ## Show the verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.venv/lab.stamp: requirements.txt scripts/bootstrap.sh
	@scripts/bootstrap.sh requirements.txt $(if $(filter lab test test-full,$(MAKECMDGOALS)),compile)
	@touch $@

.venv/dev.stamp: requirements-dev.txt .venv/lab.stamp
	@scripts/bootstrap.sh requirements-dev.txt
	@touch $@

.venv/docs.stamp: requirements-docs.txt .venv/lab.stamp
	@scripts/bootstrap.sh requirements-docs.txt
	@touch $@

# What is in a bundle needs no room to be compiled.
lab: $(if $(BUNDLE),unbundle,.venv/lab.stamp) ## Build, or bring up to date: images, cluster, mesh, Bookinfo (BUNDLE=file: without any network)
	@$(PLAY) $(if $(BUNDLE),-e lab_min_disk_gib=5) playbooks/site.yml

unbundle:
	@python3 roles/bundle/files/unbundle.py "$(BUNDLE)"

bundle: .venv/lab.stamp ## Write the lab into one file, for hosts without a network (FILE=build/istio-lab.bundle, ARCH=arm64: for such a machine)
	@$(PLAY) $(if $(ARCH),-e lab_architecture=$(ARCH)) $(if $(FILE),-e bundle_file="$(abspath $(FILE))") playbooks/make_bundle.yml

policy: .venv/lab.stamp ## Put an entry's rules in force (ENTRY=name, VARIANT=policy|control)
	@$(PLAY) -e traffic_policy_entry=$(ENTRY) -e traffic_policy_variant=$(VARIANT) playbooks/apply_policy.yml

load: .venv/lab.stamp ## Judge an entry (ENTRY=name, VARIANT=policy|control), or UI=1 for the browser; WHERE=cluster WORKERS=4: from within
ifdef UI
ifneq ($(WHERE),local)
	@$(PLAY) -e loadtest_where=$(WHERE) -e loadtest_workers=$(WORKERS) playbooks/run_console.yml
endif
	@LAB=$(LAB) WHERE=$(WHERE) scripts/load-ui.sh
else
	@$(PLAY) -e loadtest_entry=$(ENTRY) -e traffic_policy_variant=$(VARIANT) -e loadtest_where=$(WHERE) -e loadtest_workers=$(WORKERS) \
	    playbooks/run_loadtest.yml
endif

catalogue: .venv/lab.stamp ## List the entries with their last verdict
	@$(BIN)/python -m loadtests.reports.summary --results "$${XDG_STATE_HOME:-$$HOME/.local/state}/istio-lab/$(LAB)/results"

verify: .venv/lab.stamp ## Judge every entry, with one report
	@$(PLAY) playbooks/verify_catalogue.yml

latency: .venv/lab.stamp ## Latency at a given rate (URL=/productpage RATE=20 STEP=30 P99=ms FIND=1)
	@LAB=$(LAB) scripts/latency.sh $(if $(RATE),--rate $(RATE)) $(if $(STEP),--step $(STEP)) $(if $(P99),--p99 $(P99)) \
	    $(if $(HOST),--host "$(HOST)") $(if $(HOPS),--hops "$(HOPS)") $(if $(FIND),--find) $(if $(USERS),--users $(USERS)) $(if $(SEED),--seed $(SEED)) -- "$(or $(URL),/productpage)"

lint: .venv/dev.stamp ## ansible-lint, yamllint, ruff, mypy
	@scripts/lint.sh

unit: .venv/dev.stamp ## Unit tests alone
	@$(BIN)/pytest -q tests/unit

test: .venv/dev.stamp ## Lint, unit tests, and every capability once on one lab (ONLY=scenario: that one)
	@ONLY="$(ONLY)" $(BIN)/python -m scripts.gate core

test-full: .venv/dev.stamp ## The same with everything: every entry, other clusters, pulled images, the bundle
	@ONLY="$(ONLY)" $(BIN)/python -m scripts.gate full

bench: .venv/dev.stamp ## Time the lab against the same steps by hand
	@$(BIN)/python scripts/bench.py

telemetry: .venv/lab.stamp ## Add Prometheus and Zipkin to the lab
	@$(PLAY) playbooks/install_telemetry.yml

open: .venv/lab.stamp ## Open a page of the lab on 127.0.0.1 (WHAT=prometheus|zipkin|grafana|kiali|console), until Ctrl-C
	@state="$${XDG_STATE_HOME:-$$HOME/.local/state}/istio-lab/$(LAB)"; PATH="$$state/bin:$$PATH" exec $(BIN)/python scripts/open.py \
	    --kubeconfig "$$state/kubeconfig" "$(WHAT)"

explain: .venv/lab.stamp ## Explain a pod's sidecar (POD=[namespace/]name)
	@state="$${XDG_STATE_HOME:-$$HOME/.local/state}/istio-lab/$(LAB)"; PATH="$$state/bin:$$PATH" $(BIN)/python -m loadtests.mesh.explain \
	    --kubeconfig "$$state/kubeconfig" "$(POD)"

docs: .venv/docs.stamp ## Build the documentation as a site that needs no server: build/site/index.html
	@$(BIN)/python -m scripts.docs build/site

destroy: .venv/lab.stamp ## Remove the lab (CACHE=1: built artefacts as well)
	@$(PLAY) -e lab_destroy_cache=$(if $(CACHE),true,false) playbooks/destroy_lab.yml

env: ## Print what puts the lab's commands on PATH: eval "$(make env)"
	@LAB=$(LAB) scripts/env.sh

lock: .venv/dev.stamp ## Write the requirements' locks anew
	@scripts/lock.sh
