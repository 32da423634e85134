"""Typer commands, one file each: parse, then one call."""
