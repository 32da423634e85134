"""`python -m attnseg`."""

from attnseg.cli.app import run

run()
