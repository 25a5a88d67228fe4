"""Trajectories from checkpoints that other trainers left, and of rows that are added to a run later."""
