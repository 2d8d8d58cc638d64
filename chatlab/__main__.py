"""``python -m chatlab`` is the ``chatlab`` command."""

from chatlab.cli import main

if __name__ == "__main__":
    main()
