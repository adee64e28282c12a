"""``python -m unpool.service`` is ``unpool serve`` where no command line is installed."""

import typer

from unpool.service.command import serve

if __name__ == "__main__":
    typer.run(serve)
