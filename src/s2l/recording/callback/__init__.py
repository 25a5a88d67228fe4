"""Trajectories from a training of one's own: a callback that scores a pool while the model learns."""
