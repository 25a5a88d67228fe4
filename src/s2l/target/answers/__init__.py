"""What a model's output says, and whether that is the answer: the rules of each test set."""
