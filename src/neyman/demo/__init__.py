"""The demonstration: a synthetic search as ROOT ntuples, whose exact likelihood is known."""

from neyman.demo.comparison import Comparison
from neyman.demo.densities import FEATURES, SAMPLES, densities, generate, quadrature, scores
from neyman.demo.exact import ExactLikelihood
from neyman.demo.files import YIELDS, make_ntuples
from neyman.demo.running import BINNINGS, binned, run

__all__ = [
    "BINNINGS",
    "FEATURES",
    "SAMPLES",
    "YIELDS",
    "Comparison",
    "ExactLikelihood",
    "binned",
    "densities",
    "generate",
    "make_ntuples",
    "quadrature",
    "run",
    "scores",
]


def __dir__() -> list[str]:
    return __all__
