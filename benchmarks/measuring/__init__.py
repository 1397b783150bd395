"""What several benchmarks share: both sides in turn, the machine in words, parts of studies that take no time."""
