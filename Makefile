# Recipes are under deploy/dev; `make` alone lists the targets.
.PHONY: help install up down status clean-dev demo test soak check deny bench profile

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' Makefile | column -t -s '|'

install: ## install what is missing, saying what
	@deploy/dev/install

up: ## start Kafka, ClickHouse and Mosquitto on free ports (see target/dev/env)
	@deploy/dev/services up

down: ## stop them; their data stays
	@deploy/dev/services down

status: ## say which of them run
	@deploy/dev/services status

clean-dev: ## stop them and remove their data, logs and ports
	@deploy/dev/services down --purge

demo: ## watch a heated district live (make down stops it)
	@deploy/dev/demo

test: ## everything: format, lints, unit tests, scenarios on real services (SEED=random: other cases)
	@deploy/dev/test

soak: ## a thousand crashes on services of their own (CRASHES=1000 SEED=1): every output as if nothing had failed
	@deploy/dev/soak

check: ## format and lints only
	@deploy/dev/check

deny: ## licences, sources and second versions of dependencies (installs cargo-deny where it is missing)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	@cargo deny check bans licenses sources

bench: ## the figures: benches in release mode, on the services (ONLY="reference latency" picks some)
	@deploy/dev/bench -- $(ONLY)

profile: ## where the time of the whole path goes, by operator and by module (needs perf)
	@deploy/dev/profile
