"""Compare learned likelihoods of events that share an offset with the exact one.

``python run.py --network deepset event --figure widths.png``: for every number of events, the width of the 68 %
interval of theta, the bias, the test statistic at the truth and the coverage, on exact toys. The model files are kept
in ``--folder`` and used again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import comparison
import exact

REACH = 1.0  # the true theta is uniform within this


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = comparison.command_line(__doc__, toys=300).parse_args(arguments)
    runs: list[dict[str, Any]] = []
    for name in options.network:
        model = comparison.trained(exact, name, options.seed, options.folder)
        points = comparison.by_cardinality(exact, model, options.toys, 1, REACH)
        runs.append({"network": name, "seed": options.seed, "points": points})
    comparison.write(runs, options.output)
    if options.figure:
        comparison.draw_widths(runs, options.figure, "events", r"median width of the 68 % interval of $\theta$")


if __name__ == "__main__":
    main()
