"""`python -m attnseg`."""

from attnseg.cli.app import main

main()
