"""Run the command line: `python -m podtrain`, as torchrun does."""

from podtrain.cli import main

main()
