"""Expected rates and constraint terms of a HistFactory model with their exact derivatives, from pyhf's own terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyhf
from numpy.typing import NDArray

from neyman.exceptions import Unsupported

__all__ = ["BatchRates", "Rates"]


def __dir__() -> list[str]:
    return __all__


_BATCHES = (8, 64, 512, 2048)  # points evaluated at once; pyhf holds arrays of each size that is used
_BATCH_ENTRIES = 4_000_000  # numbers in the Jacobian of a batch, at most

_RELATIVE_STEP = 6e-6  # cube root of the machine precision: a central difference is then good to about 1e-10


class Rates:
    r"""Expected rates per sample and bin, and their Jacobian, at a cost that hardly grows with the parameters.

    HistFactory's rate of sample ``s`` in bin ``b`` is
    :math:`\nu_{sb} = (\nu^0_{sb} + \sum_m \Delta_{msb}) \prod_m \kappa_{msb}` (arXiv:1007.1727 takes it from there;
    CERN-OPEN-2012-016, eq. 9). The modifiers :math:`\Delta` and :math:`\kappa` are pyhf's own, evaluated by pyhf.
    Each of them depends on a single parameter, so one evaluation with *all* parameters shifted up and one with all
    shifted down give the derivative of every one; the product rule is then exact.

    Args:
        model: the HistFactory model, under pyhf's numpy backend.

    Raises:
        Unsupported: if the model clips its rates.

    Example:
        >>> import pyhf
        >>> from neyman.model.rates import Rates
        >>> model = pyhf.simplemodels.uncorrelated_background([5.0], [50.0], [7.0])
        >>> rates, jacobian = Rates(model)([2.0, 1.0])
        >>> rates.ravel()  # background and signal, pyhf's order of samples
        array([50., 10.])
        >>> jacobian.round(6).tolist()  # by mu and by the background's own parameter
        [[[0.0, 50.0]], [[5.0, 0.0]]]
    """

    def __init__(self, model: pyhf.Model) -> None:
        if model.main_model.clip_sample_data is not None or model.main_model.clip_bin_data is not None:
            raise Unsupported("a model with clip_sample_data or clip_bin_data has no exact gradient: build it without")
        self.samples: tuple[str, ...] = tuple(model.config.samples)
        self._n_parameters = int(model.config.npars)
        self._main = _twin(model, 3)
        self._nominal: NDArray[np.float64] = np.array(self._main.nominal_rates)[0, :, 0, :]
        init = np.asarray(model.config.suggested_init(), dtype=np.float64)
        self._deltas = self._dependence(init, additive=True)
        self._factors = self._dependence(init, additive=False)
        self._target = np.concatenate([self._deltas.target, self._factors.target])

    def __call__(self, pars: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the rates and their derivatives by every parameter.

        Args:
            pars: the parameters, shape ``(P,)``.

        Returns:
            The rates, shape ``(S, B)``: samples in the order of ``samples``, bins in pyhf's; and their Jacobian,
            shape ``(S, B, P)``.
        """
        pars = np.asarray(pars, dtype=np.float64)
        step = _RELATIVE_STEP * np.maximum(1.0, np.abs(pars))
        points = np.empty((3, pars.size))
        points[0] = pars
        np.add(pars, step, out=points[1])
        np.subtract(pars, step, out=points[2])
        inverse_width = 1.0 / (points[1] - points[2])
        deltas, factors = self._main._modifications(points)

        base, slopes = self._nominal, []
        if deltas:
            delta = _stack(deltas)
            base = base + delta[:, :, 0].sum(axis=0)
            slopes.append(self._deltas.slopes(delta, inverse_width))
        rates = base
        if factors:
            factor = _stack(factors)
            product, others = _products(factor[:, :, 0])
            rates = base * product
            if deltas:
                slopes[0] *= product.take(self._deltas.place)
            others *= base
            slopes.append(self._factors.slopes(factor, inverse_width) * others.take(self._factors.entries))
        jacobian: NDArray[np.float64] = np.zeros(rates.size * self._n_parameters)
        if slopes:
            jacobian = np.bincount(self._target, np.concatenate(slopes), minlength=jacobian.size).astype(
                np.float64, copy=False
            )
        return rates, jacobian.reshape(*rates.shape, self._n_parameters)

    def _dependence(self, init: NDArray[np.float64], *, additive: bool) -> _Dependence:
        """Find which parameter each entry (modifier, sample, bin) depends on.

        The parameter's number is read bit by bit: shifting all parameters whose number has bit k set moves exactly
        the entries that depend on one of them.
        """
        numbers = np.arange(self._n_parameters)
        active = self._moved(init, np.ones(numbers.size, dtype=bool), additive)
        parameter = np.zeros(active.shape, dtype=np.intp)
        for bit in range(int(self._n_parameters - 1).bit_length()):
            parameter += self._moved(init, (numbers >> bit) % 2 == 1, additive).astype(np.intp) << bit
        entries = np.flatnonzero(active)
        modifier, place = np.divmod(entries, self._nominal.size)
        samples, bins = self._nominal.shape
        sample, bin_ = np.divmod(place, bins)
        up = ((modifier * samples + sample) * 3 + 1) * bins + bin_
        parameter = parameter.reshape(-1)[entries]
        return _Dependence(entries, place, up, up + bins, parameter, place * self._n_parameters + parameter)

    def _moved(self, init: NDArray[np.float64], which: NDArray[np.bool_], additive: bool) -> NDArray[np.bool_]:
        """Return which entries, shape ``(M, S, B)``, move with those parameters; one of two shifts may hit a root."""
        points = np.stack([init, init + 0.3719 * which, init - 0.2843 * which])
        modifications = self._main._modifications(points)[0 if additive else 1]
        if not modifications:
            return np.zeros((0, *self._nominal.shape), dtype=bool)
        stacked = _stack(modifications)
        moved: NDArray[np.bool_] = np.any(stacked[:, :, 1:] != stacked[:, :, :1], axis=2)
        return moved


class BatchRates:
    """What :class:`Rates` gives, for many points at once.

    Args:
        model: the HistFactory model, under pyhf's numpy backend.

    Raises:
        Unsupported: if the model clips its rates.

    Example:
        >>> import numpy as np, pyhf
        >>> from neyman.model.rates import BatchRates
        >>> model = pyhf.simplemodels.uncorrelated_background([5.0], [50.0], [7.0])
        >>> BatchRates(model)(np.array([[2.0, 1.0], [1.0, 1.1]]))[0].sum(axis=1)
        array([[60.], [60.]])
    """

    def __init__(self, model: pyhf.Model) -> None:
        single = Rates(model)
        self._model = model
        self._nominal = single._nominal
        self._deltas, self._factors = (_positions(d, self._nominal.shape) for d in (single._deltas, single._factors))
        target = np.concatenate([single._deltas.target, single._factors.target])
        self._order = np.argsort(target, kind="stable")
        self._targets, self._starts = np.unique(target[self._order], return_index=True)
        self._parameters = single._deltas.parameter, single._factors.parameter
        entries = self._nominal.size * max(int(model.config.npars), 1)
        self._sizes = [size for size in _BATCHES if size * entries <= _BATCH_ENTRIES] or [1]
        self._twins: dict[int, Any] = {}

    @property
    def size(self) -> int:
        """How many points one evaluation takes."""
        return self._sizes[-1]

    def __call__(self, pars: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the rates and their derivatives by every parameter.

        Args:
            pars: the points, shape ``(n, P)``, at most ``size`` of them.

        Returns:
            The rates, shape ``(n, S, B)``, and their Jacobian, shape ``(n, S, B, P)``.
        """
        n, n_parameters = pars.shape
        padded = next(size for size in self._sizes if size >= n)
        step = _RELATIVE_STEP * np.maximum(1.0, np.abs(pars))
        points = np.empty((3, padded, n_parameters))
        points[:, :n] = pars, pars + step, pars - step
        points[:, n:] = points[:, n - 1 : n]
        inverse_width = 1.0 / (points[1, :n] - points[2, :n]).T
        if padded not in self._twins:
            self._twins[padded] = _twin(self._model, 3 * padded)
        deltas, factors = (
            _stack(found).reshape(-1, len(self._nominal), 3, padded, self._nominal.shape[1])[:, :, :, :n]
            if found
            else None
            for found in self._twins[padded]._modifications(points.reshape(-1, n_parameters))
        )

        base, slopes = np.repeat(self._nominal[:, None, :], n, axis=1), []
        if deltas is not None:
            modifier, sample, bin_ = self._deltas
            base += deltas[:, :, 0].sum(axis=0)
            slope = deltas[modifier, sample, 1, :, bin_] - deltas[modifier, sample, 2, :, bin_]
            slopes.append(slope * inverse_width[self._parameters[0]])
        rates = base
        if factors is not None:
            product, others = _products(factors[:, :, 0])
            rates = base * product
            if deltas is not None:
                slopes[0] *= product[sample, :, bin_]
            modifier, sample, bin_ = self._factors
            slope = factors[modifier, sample, 1, :, bin_] - factors[modifier, sample, 2, :, bin_]
            slope *= inverse_width[self._parameters[1]]
            slopes.append(slope * (others * base)[modifier, sample, :, bin_])
        jacobian = np.zeros((self._nominal.size * n_parameters, n))
        if self._targets.size:
            jacobian[self._targets] = np.add.reduceat(np.concatenate(slopes)[self._order], self._starts, axis=0)
        return (
            np.ascontiguousarray(np.moveaxis(rates, 1, 0)),
            np.ascontiguousarray(jacobian.T).reshape(n, *self._nominal.shape, n_parameters),
        )


@dataclass(frozen=True)
class _Dependence:
    """Where the entries that depend on a parameter stand in pyhf's modifications and in the Jacobian, all flat.

    Args:
        entries: among modifier, sample and bin.
        place: their sample and bin.
        up: their value with the parameters shifted up, among modifier, sample, shift and bin.
        down: the same with the parameters shifted down.
        parameter: the parameter each depends on.
        target: its derivative, among sample, bin and parameter.
    """

    entries: NDArray[np.intp]
    place: NDArray[np.intp]
    up: NDArray[np.intp]
    down: NDArray[np.intp]
    parameter: NDArray[np.intp]
    target: NDArray[np.intp]

    def slopes(self, modification: NDArray[np.float64], inverse_width: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each entry's derivative by its own parameter."""
        difference: NDArray[np.float64] = modification.take(self.up) - modification.take(self.down)
        difference *= inverse_width.take(self.parameter)
        return difference


def _twin(model: pyhf.Model, size: int) -> Any:
    """Return the main part of the same model for that many points at once."""
    twin = pyhf.Model(
        model.spec, batch_size=size, validate=False, poi_name=None, modifier_settings=model.config.modifier_settings
    )
    return twin.main_model


def _positions(dependence: _Dependence, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], ...]:
    """Return modifier, sample and bin of each entry."""
    modifier = dependence.entries // (shape[0] * shape[1])
    return modifier, *np.divmod(dependence.place, shape[1])


def _stack(modifications: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Join the modifiers of all types, shape ``(M, S, 3, B)``."""
    return modifications[0] if len(modifications) == 1 else np.concatenate(modifications)


def _products(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the product of all rows, and for each row the product of all the others."""
    if values.all():
        product = np.multiply.reduce(values, axis=0)
        return product, product / values
    # dividing by a factor of zero (mu = 0) will not do: the rows before times the rows after
    ones = np.ones((1, *values.shape[1:]))
    before = np.multiply.accumulate(np.concatenate([ones, values]), axis=0)
    after = np.multiply.accumulate(np.concatenate([ones, values[::-1]]), axis=0)[::-1]
    return before[-1], before[:-1] * after[1:]
