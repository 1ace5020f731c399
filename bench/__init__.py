"""Benchmarks: each measures one promise beside what it is compared with, and writes `bench/results/NAME.json`."""
