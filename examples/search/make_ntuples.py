"""Write the search's ROOT ntuples and its document: ``python make_ntuples.py [FOLDER] [--events N] [--seed S]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from neyman.demo import make_ntuples

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--events", type=int, default=30_000, help="simulated events of each sample")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    arguments = parser.parse_args()
    print(make_ntuples(arguments.folder, arguments.events, arguments.seed))
