"""`python -m diffgraph` is the command `diffgraph`."""

from diffgraph.cli import main

if __name__ == "__main__":
    main()
