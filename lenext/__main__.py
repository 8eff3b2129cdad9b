"""`python -m lenext` is the command `lenext`."""

from lenext.cli import main

if __name__ == "__main__":
    main()
