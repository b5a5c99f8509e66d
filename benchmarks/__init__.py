"""Side by side with the peers; see benchmarks/README.md."""
