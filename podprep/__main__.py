"""`python -m podprep`."""

from podprep.cli import main

main()
