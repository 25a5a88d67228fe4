"""`python -m s2l`, which is how launchers start it: `torchrun --nproc-per-node 2 -m s2l run …`."""

from s2l.cli import main

if __name__ == "__main__":
    main()
