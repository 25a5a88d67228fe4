"""What S2L rests on, measured: do rows of one cluster have like gradients, does a subset keep the pool's?"""
