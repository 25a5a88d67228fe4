"""What is found when a person asks about a run or a pool: one file per verb, JSON-able; locks and changes nothing."""
