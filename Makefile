# kubeFlower: `make up` starts everything, `make test` checks everything.
STACK ?= lab
POLICIES := $(if $(POLICY_CONFIG),--policy-config '$(POLICY_CONFIG)')
LAB := .venv/bin/lab
.DEFAULT_GOAL := help
.PHONY: help bootstrap up down preview status matrix test bench experiments

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

bootstrap: ## install what is missing
	@scripts/bootstrap

up: bootstrap ## start the lab and bring STACK (lab) up, to a finished federation
	@$(LAB) up --stack $(STACK) $(POLICIES)

down: bootstrap ## stop the lab; raw data and privacy ledgers stay
	@$(LAB) down

preview: bootstrap ## show that STACK passes the policies; creates nothing
	@$(LAB) preview --stack $(STACK) $(POLICIES)

status: bootstrap ## show the lab's daemons and pods
	@$(LAB) status

matrix: bootstrap ## send packets between all pods and compare with the declared intent
	@$(LAB) matrix

test: bootstrap ## run every check and test
	@scripts/test

bench: bootstrap ## measure speeds, as ratios of one run
	@scripts/bench

experiments: bootstrap ## make the paper's experiments again, into docs/experiments
	@scripts/experiments
