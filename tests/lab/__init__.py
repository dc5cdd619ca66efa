"""What tests and benchmarks share: fakes, a world of them, a clock, the fleet, the explorer."""
