"""`attnseg`, and `python -m attnseg`: a process of its own."""

from attnseg.signals import end_on_signals, end_stopped


def start() -> None:
    """Run the command line; a signal that comes while it is still being loaded ends it quietly."""
    try:
        end_on_signals()
        from attnseg.cli.app import run

        run()
    except KeyboardInterrupt:
        end_stopped()


if __name__ == "__main__":
    start()
