"""``python -m chatlab`` is the ``chatlab`` command."""

from chatlab.cli import main

main()
