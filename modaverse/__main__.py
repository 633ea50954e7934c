"""`python -m modaverse` is the command `modaverse`."""

from modaverse.cli import main

main()
