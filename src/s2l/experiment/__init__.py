"""Is the selection worth it: pool × methods × budgets × seeds × targets → train, evaluate, and a verdict."""
