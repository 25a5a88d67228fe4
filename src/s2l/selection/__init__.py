"""Recorded trajectories → the rows to train on: k-means, allocation and one file per method."""
