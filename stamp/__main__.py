"""`python -m stamp` is the command `stamp`."""

from stamp.cli import main

main()
