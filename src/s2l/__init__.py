"""S2L (SmallToLarge): choose the part of fine-tuning data to train on, by loss trajectories of a small proxy."""
