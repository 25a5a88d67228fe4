"""Fine-tune the big model on a subset, and evaluate it."""
