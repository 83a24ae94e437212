# Thin: the work is in scripts/, where each script says what it does.

.PHONY: help demo demo-fleet test check fuzz bench bench-quick scale startup gobench matrix clean

help:
	@echo 'make demo        resume sessions across a restart of the server, shown as a table'
	@echo 'make demo-fleet  a fleet on a Redis Cluster resumes sessions on every server, and after two of its processes are killed'
	@echo 'make test        what must pass before a change is taken'
	@echo 'make check       everything: sanitizers, memcheck, static checks'
	@echo 'make fuzz        each fuzz target for a minute (FUZZTIME=10s make fuzz)'
	@echo 'make bench       beside C, crypto/tls, go-openssl, Node and the prototype: the whole table, under 75 minutes (bench/README.md)'
	@echo 'make bench-quick this binding beside C, 5 rows, under 5 minutes'
	@echo 'make scale       how it scales: connections, sessions, processors, latency, records, contexts; under 25 minutes'
	@echo 'make startup     time to the first handshake, cost of a context, size and build time'
	@echo 'make gobench     the Go benchmarks (BENCH=pattern make gobench)'
	@echo 'make matrix      the tests on other OpenSSL releases (MATRIX="trixie sid")'

demo:
	@bash scripts/setup demo
	@bash scripts/demo

demo-fleet:
	@bash scripts/demo-fleet

test:
	@bash scripts/setup test
	@bash scripts/test

check:
	@bash scripts/setup check
	@bash scripts/check

fuzz:
	@bash scripts/fuzz

bench:
	@bash scripts/bench $(BENCHFLAGS)

bench-quick:
	@bash scripts/bench -quick $(BENCHFLAGS)

scale:
	@bash scripts/scale $(SCALEFLAGS)

startup:
	@bash scripts/startup $(STARTUPFLAGS)

gobench:
	@bash scripts/setup build
	go test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem ./...

matrix:
	@bash scripts/openssl-matrix

clean:
	go clean
	rm -rf bin build bench/bin
