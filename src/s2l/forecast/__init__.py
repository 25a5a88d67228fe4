"""What a run would cost, measured on a sample before it is made."""
