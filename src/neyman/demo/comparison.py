"""What the demonstration found: the fits and limits of all its likelihoods, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import neyman
from neyman.support.text import html_table, text_table

if TYPE_CHECKING:  # matplotlib is imported where a figure is drawn
    from matplotlib.figure import Figure

__all__ = ["Comparison"]


def __dir__() -> list[str]:
    return __all__


_HEADER = ("likelihood", "mu", "68 % interval", "observed limit", "expected limit")


class Comparison(dict[str, Any]):
    """The results of :func:`neyman.demo.run` by the names of the likelihoods, and the ``files`` it wrote.

    Args:
        found: the results, as JSON types.
        scans: of the profile likelihood of mu, by the same names.

    Example:
        >>> one = {"mu": 0.4, "uncertainty": [-0.3, 0.35], "observed_limit": 1.1, "expected_limit": 0.7}
        >>> print(Comparison({"exact": one}, {}))
        likelihood  mu    68 % interval  observed limit  expected limit
        exact       0.40   -0.30 +0.35            1.10            0.70
    """

    def __init__(self, found: Mapping[str, Any], scans: Mapping[str, neyman.ScanResult]) -> None:
        super().__init__(found)
        self.scans = dict(scans)

    def plot(self) -> Figure:
        """Return the figure of all scans."""
        return neyman.plot.scans(self.scans)

    def __repr__(self) -> str:
        return "\n".join(text_table([_HEADER, *self._rows()], right=range(1, len(_HEADER)), indent=""))

    def _repr_html_(self) -> str:
        return html_table("the demonstration's search: signal strength mu", _HEADER, self._rows())

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                name,
                f"{one['mu']:.2f}",
                "{:+.2f} {:+.2f}".format(*one["uncertainty"]),
                f"{one['observed_limit']:.2f}",
                f"{one['expected_limit']:.2f}",
            )
            for name, one in self.items()
            if name != "files"
        ]
