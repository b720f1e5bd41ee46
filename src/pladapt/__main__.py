"""``python -m pladapt``: the command line."""

from pladapt.cli import main

if __name__ == "__main__":
    main()
