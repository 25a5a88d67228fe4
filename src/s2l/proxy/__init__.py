"""Build or load the small model; train it and save T checkpoints."""
