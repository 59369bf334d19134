"""``python -m colmodern`` is the ``colmodern`` command."""

from colmodern.cli.main import main

main()
