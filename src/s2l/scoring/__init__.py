"""One checkpoint × many rows → sums per row."""
