"""Benchmarks of the pipeline; each writes its figures to `bench/results/NAME.json`."""
