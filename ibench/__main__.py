"""`python -m ibench`, as torchrun and other launchers start it."""

from ibench.cli import main

if __name__ == "__main__":
    main()
