"""The command line as ``python -m neyman``."""

from neyman.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main(prog_name="neyman")
