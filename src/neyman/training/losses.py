"""The losses of dataset-wide networks: each is a number for a module and a batch of groups of datasets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from neyman.networks.encoder import Encoder
from neyman.networks.heads import BilinearHead, EventHead, GaussianHead, Head, LinearHead
from neyman.training.bank import Bank, members_of
from neyman.training.proposals import GROUP, candidates_near, log_density

__all__ = ["Guided", "Summaries", "candidate_loss", "dataset_loss", "event_loss", "group_loss", "posterior_loss"]


def __dir__() -> list[str]:
    return __all__


_EVENTS = 4  # of a dataset in a batch, where events are taken one by one


class Guided(nn.Module):
    """An encoder and the head that it is trained with.

    Args:
        encoder: from events to summaries.
        head: from summaries and parameters to scores.
    """

    def __init__(self, encoder: Encoder, head: EventHead | LinearHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head


@dataclass(frozen=True, eq=False)
class Summaries:
    """What heads are trained on.

    Args:
        sums: the summaries of all datasets, shape ``(n, K)``.
        theta: their parameters, shape ``(n, P)``.
        low: lower bounds, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
    """

    sums: Tensor
    theta: Tensor
    low: Tensor
    high: Tensor

    def log_density(self, theta: Tensor) -> Tensor:
        """Return how densely the proposal fills a place, see :func:`neyman.training.proposals.log_density`."""
        low = self.low.to(theta)
        return log_density((theta - low) / (self.high.to(theta) - low))


def event_loss(bank: Bank, module: Guided, groups: Tensor, generator: torch.Generator) -> Tensor:
    """Return the contrastive loss of single events and, where a head has a rate, that of the numbers of events."""
    head, rows = module.head, members_of(groups)
    events, there = bank.some_events(rows, _EVENTS, generator)
    alone = torch.arange(len(events), device=bank.device)
    summaries = module.encoder(events, torch.ones_like(events[:, 0]), alone, len(events))
    coefficients = head.per_event(bank.theta[rows]).view(len(groups), GROUP, -1)
    scores = summaries.view(len(groups), GROUP * _EVENTS, -1) @ coefficients.mT
    target = torch.arange(GROUP, device=bank.device).repeat_interleave(_EVENTS).repeat(len(groups))
    losses = functional.cross_entropy(scores.flatten(0, 1), target, reduction="none")
    total = (losses * there).sum() / there.sum().clamp(min=1)
    if isinstance(head, LinearHead) or head.rate is None:
        return total
    numbers, log_rate = bank.numbers[rows], head.log_rate(bank.theta[rows])[:, 0]
    # minus the log-likelihood of a Poisson number, in units of what a count can fluctuate
    return total + ((log_rate.exp() - numbers * log_rate) / bank.numbers.float().mean().clamp(min=1)).mean()


def dataset_loss(bank: Bank, tracked: int, module: Guided, groups: Tensor, generator: torch.Generator) -> Tensor:
    """Return the contrastive loss of whole datasets.

    Args:
        bank: the datasets.
        tracked: the steps in which the scaling of the head follows the summaries.
        module: encoder and head.
        groups: of datasets.
        generator: not used.
    """
    head, rows = module.head, members_of(groups)
    assert isinstance(head, LinearHead)
    summaries = bank.encoded(module.encoder, rows)
    if head.training:
        head.track(summaries, until=tracked)
    return _contrast(head, summaries, bank.theta[rows])


def posterior_loss(known: Summaries, head: GaussianHead, groups: Tensor, generator: torch.Generator) -> Tensor:
    """Return minus the logarithm of the Gaussian of a head at the true parameters, as if these were uniform."""
    rows = members_of(groups)
    theta = known.theta[rows]
    weights = torch.exp(-known.log_density(theta))
    return (weights * head.negative_log_posterior(known.sums[rows], theta)).sum() / weights.sum()


def group_loss(known: Summaries, head: BilinearHead | LinearHead, groups: Tensor, generator: torch.Generator) -> Tensor:
    """Return the contrastive loss with the parameters of a dataset's group for candidates."""
    rows = members_of(groups)
    return _contrast(head, known.sums[rows], known.theta[rows])


def candidate_loss(known: Summaries, widths: Tensor, head: Head, groups: Tensor, generator: torch.Generator) -> Tensor:
    """Return the contrastive loss with candidates of each dataset's own, ``widths`` of its posterior apart."""
    rows = members_of(groups)
    theta = candidates_near(known.theta[rows], widths[rows], known.low, known.high, generator)
    scores = head.score(known.sums[rows], theta) + known.log_density(theta)
    return -functional.log_softmax(scores, dim=1)[:, 0].mean()


def _contrast(head: LinearHead | BilinearHead, summaries: Tensor, theta: Tensor) -> Tensor:
    data = head.data(summaries.view(-1, GROUP, summaries.shape[1]))
    candidates = head.candidates(theta.view(-1, GROUP, theta.shape[1]))
    return -functional.log_softmax(data @ candidates.mT, dim=2).diagonal(dim1=1, dim2=2).mean()
