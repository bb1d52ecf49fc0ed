"""Figures show what the results say, whatever the results hold."""

from __future__ import annotations

import dataclasses
import io
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pytest
import scipy.stats
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from neyman import plot
from neyman.exceptions import InvalidParameter, Unsupported
from neyman.results import (
    ClsResult,
    CoverageResult,
    Distribution,
    FitResult,
    IntervalResult,
    LimitResult,
    LocalsResult,
    PosteriorReport,
    PosteriorResult,
    PredictionResult,
    Result,
    ScanResult,
    SignificanceResult,
    StatisticResult,
    StreamResult,
    ToysResult,
    TrainingReport,
    from_json,
)

MU = np.linspace(0.0, 3.0, 16)


def a_scan() -> ScanResult:
    return ScanResult("mu", MU, ((MU - 1.2) / 0.4) ** 2, 1.2, 0.4)


def a_scan_of_two() -> ScanResult:
    a, b = np.linspace(-1, 1, 9), np.linspace(-2, 2, 7)
    return ScanResult(("a", "b"), (a, b), (a[:, None] / 0.3) ** 2 + (b / 0.7) ** 2, (0.0, 0.0), (0.3, 0.7))


def a_limit() -> LimitResult:
    band = np.exp(-MU[:, None] * np.array([4.0, 3.0, 2.0, 1.5, 1.0]))
    return LimitResult("mu", 0.95, 1.7, 3.0 / np.array([4.0, 3.0, 2.0, 1.5, 1.0]), MU, np.exp(-1.8 * MU), band)


def a_fit() -> FitResult:
    names = ("mu", "alpha_scale", "lumi", "held")
    sigma = np.array([0.3, 0.9, 0.015, 0.0])
    covariance = np.diag(sigma**2)
    covariance[0, 1] = covariance[1, 0] = -0.5 * 0.3 * 0.9
    return FitResult(
        names, np.array([1.1, 0.4, 1.02, 2.0]), sigma, covariance, 3.2, {"mu": (-0.28, 0.33)}, True, "ok",
        ("free", "constrained", "constrained", "fixed"), {"lumi": (1.0, 0.02)},
    )  # fmt: skip


def an_interval() -> IntervalResult:
    t, critical = ((MU - 1.2) / 0.4) ** 2, np.full(16, 1.1)
    p, toys = np.exp(-t), np.full(16, 500)
    return IntervalResult(
        "mu", 0.68, ((0.78, 1.62),), ((0.02, 0.02),), MU, t, critical, 0.1 * critical, p, 0.02 * p, toys, "toys",
        "tmu_tilde", 1.2,
    )  # fmt: skip


def a_coverage(names: tuple[str, ...] = ("mu",)) -> CoverageResult:
    truths = np.stack([[0.0, 0.5, 1.0], [0.0, 1.0, 0.0]][: len(names)], axis=1)
    covered, toys = np.array([690, 600, 1000]), np.full(3, 1000)
    fraction = covered / toys
    interval = np.stack([fraction - 0.015, np.minimum(fraction + 0.015, 1.0)], axis=1)
    verdicts = ("covers", "undercovers", "overcovers")
    return CoverageResult(
        names, truths, 0.68, fraction, np.full(3, 0.015), interval, covered, toys, verdicts, 0.0, "mu", "tmu_tilde",
        "toys",
    )  # fmt: skip


def a_test_statistic(observed: float = 2.0) -> StatisticResult:
    values = np.random.default_rng(0).chisquare(1, 1000)
    edges = np.linspace(0.0, 12.0, 41)
    above = scipy.stats.chi2.sf(edges, 1)
    return StatisticResult("mu", 1.0, "tmu", np.array([1.0]), values, observed, np.inf, 0.16, 0.157, edges, above)


def a_report(features: int = 2) -> TrainingReport:
    rng = np.random.default_rng(0)
    edges = np.linspace(0, 1, 6)

    def classifier(name: str, classes: list[str]) -> dict[str, object]:
        loss = [[0.7, 0.6, 0.55, 0.56][:n] for n in (4, 3)]
        curve = {"predicted": [0.2, 0.5, 0.8], "observed": [0.21, np.nan, 0.79], "error": [0.01, 0.01, 0.01]}
        cells = [
            {"feature": f"x{k}", "class": c, "edges": edges, "reference": rng.poisson(50, 5),
             "reweighted": rng.poisson(50, 5), "target": [0, *rng.poisson(50, 4)], "error": [0, 7, 7, 7, 7]}
            for c in classes for k in range(features)
        ]  # fmt: skip
        return {"name": name, "classes": classes, "train_loss": loss, "validation_loss": loss, "best_epoch": [2, 2],
                "calibration": dict.fromkeys(classes, curve), "seconds": 1.0, "reweighting": cells}  # fmt: skip

    names = tuple(f"x{k}" for k in range(features))
    two = (classifier("samples", ["signal", "background"]), classifier("variations of signal", ["scale hi"]))
    return TrainingReport("SR", names, two)


def some_cls() -> ClsResult:
    return ClsResult("mu", 1.0, 0.03, np.array([0.001, 0.008, 0.04, 0.15, 0.4]))


def a_significance(expected: float = 3.2) -> SignificanceResult:
    return SignificanceResult("mu", 5.29, 0.0107, 0.0004, 2.3, 0.015, expected, 0.8, "toys", 20_000)


def some_toys(*, fitted: bool = True) -> ToysResult:
    rng = np.random.default_rng(0)
    main = rng.poisson([3, 400], (1000, 2)).astype(float)
    if not fitted:
        return ToysResult(("mu", "norm"), np.ones(2), "model", 1, main, np.empty((1000, 0)), np.empty((0, 2)),
                          np.empty(0), np.empty(0, dtype=bool))  # fmt: skip
    fits = np.stack([rng.normal(1.0, 0.3, 1000), np.ones(1000)], axis=1)  # the second was held fixed
    return ToysResult(("mu", "norm"), np.ones(2), "model", 1, main, np.empty((1000, 0)), fits, np.zeros(1000),
                      np.arange(1000) > 0)  # fmt: skip


def a_posterior(parameters: int = 3, draws: int = 2000) -> PosteriorResult:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(draws, parameters)) @ np.triu(np.full((parameters, parameters), 0.3), 1) + rng.normal(
        1.0, 0.5, size=(draws, parameters)
    )
    values[:, 0] = np.abs(values[:, 0])  # which has a bound
    return PosteriorResult(("mu", *(f"alpha_{k}" for k in range(1, parameters))), values)


def some_checks(datasets: int = 400) -> PosteriorReport:
    rng = np.random.default_rng(0)
    ranks = rng.integers(256, size=(datasets, 2))
    levels = np.linspace(0.1, 0.9, 9)
    entry = {"name": "mu", "axis": "", "number": 0, "low": -np.inf, "high": np.inf, "datasets": datasets, "bias": 0.1,
             "bias_error": 0.05, "width": 1.1, "width_error": 0.04, "bias_p": 0.04, "width_p": 0.01}  # fmt: skip
    slices = [{**entry, "axis": "number of events", "number": k, "low": k, "high": k + 1.0} for k in range(4)]
    coverage = levels + rng.normal(0.0, 0.01, size=(2, 9))
    return PosteriorReport(("mu", "$nu$"), datasets, 255, ranks, levels, coverage, levels, (entry, *slices),
                           verdict="calibrated within 10 %")  # fmt: skip


def some_locals() -> LocalsResult:
    return LocalsResult(("z", "w"), np.random.default_rng(0).normal(size=(100, 7, 2)))


def a_stream() -> StreamResult:
    widths = 1 / np.sqrt(np.arange(1, 31))[:, None]
    return StreamResult(("mu", "theta"), np.random.default_rng(0).normal(size=(100, 30, 2)) * widths)


def texts(figure: Figure) -> set[str]:
    """Return every text of a figure: titles, labels, legends, annotations."""
    return {text.get_text() for text in figure.findobj(Text)}


@pytest.mark.parametrize("kind", ["png", "pdf"])
@pytest.mark.parametrize(
    "result",
    [
        a_scan(), a_scan_of_two(), a_limit(), a_fit(), a_report(), an_interval(), a_coverage(),
        a_coverage(("mu", "norm")), a_test_statistic(), some_cls(), a_significance(), a_significance(np.nan),
        some_toys(), some_toys(fitted=False), a_posterior(), a_posterior(1), some_locals(),
        some_checks(), a_stream(),
    ],
)  # fmt: skip
def test_every_result_is_drawn_and_saved_without_a_warning(result: Result, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        buffer = io.BytesIO()
        result.plot().savefig(buffer, format=kind)
    assert buffer.tell() > 5_000


@pytest.mark.parametrize(
    "result",
    [
        a_scan(), a_scan_of_two(), a_limit(), a_fit(), an_interval(), a_coverage(), a_test_statistic(), some_cls(),
        a_significance(), a_significance(np.nan), some_toys(fitted=False), a_report(), a_posterior(2), some_locals(),
        some_checks(), a_stream(),
    ],
)  # fmt: skip
def test_a_result_from_json_gives_the_same_figure(result: Result) -> None:
    def pixels(result: Result) -> bytes:
        buffer = io.BytesIO()
        plot.draw(result).savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    assert pixels(from_json(result.to_json())) == pixels(result)


def test_drawing_leaves_no_state_behind() -> None:
    before = dict(mpl.rcParams)
    had_pyplot = "matplotlib.pyplot" in sys.modules
    plot.draw(a_fit())
    assert dict(mpl.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_a_notebook_shows_the_figure_without_pyplot() -> None:
    assert plot.scan(a_scan())._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_a_scan_marks_the_levels_of_wilks_and_the_best_fit() -> None:
    figure = plot.scan(a_scan())
    assert {"68 %", "95 %", "best fit 1.20 $\\pm$ 0.40"} <= texts(figure)
    assert figure.axes[0].get_ylim() == (0.0, 16.0)  # far points do not hide the minimum


def test_a_scan_with_undefined_points_is_drawn() -> None:
    delta = np.where(MU < 0.5, np.nan, a_scan().delta_twice_nll)
    plot.scan(dataclasses.replace(a_scan(), delta_twice_nll=delta)).savefig(io.BytesIO())


def test_a_limit_states_observed_and_expected_limits() -> None:
    assert {"observed, limit 1.7", "expected, limit 1.5", "68 %: 1 to 2", "95 %: 0.75 to 3"} <= texts(
        plot.limit(a_limit())
    )


def test_pulls_are_in_units_of_the_constraint_with_free_parameters_beside() -> None:
    constrained, free = plot.pulls(a_fit()).axes
    points = next(line for line in constrained.lines if line.get_marker() == "o")
    np.testing.assert_allclose(np.asarray(points.get_xdata(), dtype=float), [0.4, 1.0])  # (1.02 - 1) / 0.02
    assert free.get_title() == "mu = 1.10 $^{+0.33}_{-0.28}$"


@pytest.mark.parametrize("label", ["free", "constrained", "fixed"])
def test_pulls_of_one_kind_of_parameter_only(label: str) -> None:
    plot.pulls(dataclasses.replace(a_fit(), labels=(label,) * 4)).savefig(io.BytesIO())


def test_correlations_leave_out_what_was_fixed() -> None:
    figure = plot.correlations(a_fit())
    assert "held" not in texts(figure)
    assert "-0.50" in texts(figure)


@pytest.mark.parametrize("features", [1, 3])
def test_training_shows_every_feature_of_every_class(features: int) -> None:
    report = a_report(features)
    figure = plot.training(report)
    assert {"signal", "background", "scale hi", *report.features} <= texts(figure)
    assert len(figure.axes) == 2 * 3 + 2 * 3 * features  # loss, calibration and difference; closure and ratio


def test_a_belt_states_its_interval_and_draws_the_p_value_below() -> None:
    figure = plot.belt(an_interval())
    assert {"interval [0.78, 1.62]", "critical value (68 %)", "observed", "p-value", "mu"} <= texts(figure)


def test_a_belt_without_interval_says_so_and_shows_the_observed_values() -> None:
    far = dataclasses.replace(an_interval(), intervals=(), errors=(), statistic=20 + MU)
    figure = plot.belt(far)
    assert "no value is accepted" in texts(figure)
    assert figure.axes[0].get_ylim()[1] > 20


def test_a_belt_of_two_intervals_states_both() -> None:
    two = dataclasses.replace(an_interval(), intervals=((0.2, 0.5), (1.0, 2.0)), errors=((0, 0), (0, 0)))
    assert "interval [0.2, 0.5] and [1, 2]" in texts(plot.belt(two))


def test_coverage_of_two_calibrations_is_drawn_side_by_side() -> None:
    other = dataclasses.replace(a_coverage(), calibration="asymptotics", verdicts=("covers",) * 3)
    figure = plot.coverage([a_coverage(), other])
    assert {"toys (tmu_tilde, fails)", "asymptotics (tmu_tilde)", "true mu"} <= texts(figure)


def test_coverage_names_the_nuisance_parameters_that_vary() -> None:
    assert "true mu, norm" in texts(plot.coverage(a_coverage(("mu", "norm"))))


def test_a_test_statistic_has_its_asymptotic_form_and_both_p_values() -> None:
    figure = plot.teststatistic(a_test_statistic())
    assert {"asymptotic form", "1000 toys", "observed 2: p = 0.16 in toys, 0.157 asymptotic"} <= texts(figure)
    plot.teststatistic(a_test_statistic(np.nan)).savefig(io.BytesIO())


def test_cls_and_significance_state_observed_and_expected() -> None:
    assert {"observed 0.03", "expected 0.04", "68 %: 0.008 to 0.15"} <= texts(plot.cls(some_cls()))
    found = texts(plot.significance(a_significance()))
    assert {"observed 2.3", "expected 3.2", "68 %: 2.2 to 4.2", "discovery of mu: p = 0.0107 $\\pm$ 0.0004"} <= found


def test_toys_show_the_best_fits_that_vary_and_all_that_are_asked_for() -> None:
    toys = some_toys()
    assert {ax.get_xlabel() for ax in plot.toys(toys).axes} == {"mu"}
    assert {ax.get_xlabel() for ax in plot.toys(toys, ["mu", "norm"]).axes} == {"mu", "norm"}
    with pytest.raises(InvalidParameter, match="did you mean 'norm'"):
        plot.toys(toys, ["nrom"])


def test_toys_without_fits_show_the_counts() -> None:
    assert {ax.get_xlabel() for ax in plot.toys(some_toys(fitted=False)).axes} == {"count of bin 1", "count of bin 2"}


def test_toys_of_which_no_fit_is_valid_have_nothing_to_draw() -> None:
    with pytest.raises(Unsupported, match="nothing to draw: no toy has a valid fit"):
        dataclasses.replace(some_toys(), fitted=np.zeros(1000, dtype=bool)).plot()


def test_a_corner_plot_has_a_panel_for_every_parameter_and_pair_that_varies() -> None:
    posterior = a_posterior(3)
    held = dataclasses.replace(
        posterior, names=(*posterior.names, "held"), draws=np.c_[posterior.draws, np.full(2000, 3.0)]
    )
    figure = held.plot()
    assert len(figure.axes) == 6
    assert {"mu", "alpha_1", "alpha_2", "68 %", "95 %"} <= texts(figure)
    assert "held" not in texts(figure)


def test_the_regions_of_a_corner_plot_hold_68_and_95_percent_of_the_draws() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=20_000)
    thin = PosteriorResult(("a", "b"), np.stack([x, x + 0.01 * rng.normal(size=x.size)], axis=1))
    lines = thin.plot().axes[1].collections[-1].get_paths()  # dashed, then solid
    for path, level in zip(lines, (0.95, 0.68), strict=True):
        inside = path.contains_points(thin.draws).mean()
        assert inside == pytest.approx(level, abs=0.015)  # what smoothing and bins leave


def test_a_corner_plot_of_many_parameters_shows_ten_or_those_that_are_named() -> None:
    many = a_posterior(13, draws=200)
    figure = many.plot()
    assert len(figure.axes) == 55
    assert "3 more by names=[...]" in texts(figure)
    assert {ax.get_xlabel() for ax in many.plot(["alpha_12", "mu"]).axes} == {"", "alpha_12", "mu"}
    free_first = dataclasses.replace(many, labels=(*["constrained"] * 12, "free"))
    assert "alpha_12" in texts(free_first.plot())
    with pytest.raises(InvalidParameter, match="did you mean 'alpha_2'"):
        many.plot(["alpha2"])


def test_posteriors_are_compared_in_one_corner_plot_and_true_values_marked() -> None:
    figure = plot.corner({"learned": a_posterior(2), "exact": a_posterior(2, draws=50)}, truth={"mu": 0.5})
    assert {"learned", "exact", "true value"} <= texts(figure)
    with pytest.raises(InvalidParameter, match="no posterior has the parameter 'nu'"):
        plot.corner(a_posterior(2), truth={"nu": 0.5})


def test_a_posterior_without_draws_has_nothing_to_draw() -> None:
    for empty in (
        PosteriorResult(("mu",), np.empty((0, 1))),
        LocalsResult(("z",), np.empty((5, 0, 1))),
        StreamResult(("mu",), np.empty((5, 0, 1))),
    ):
        with pytest.raises(Unsupported, match="nothing to draw"):
            empty.plot()
    with pytest.raises(Unsupported, match="no parameter varies"):
        PosteriorResult(("mu",), np.ones((10, 1))).plot()


def test_the_legend_of_a_belt_is_not_on_its_curves() -> None:
    figure = plot.belt(an_interval())
    figure.draw_without_rendering()
    [legend] = figure.legends
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())


def test_names_are_never_read_as_mathematics() -> None:
    scan = dataclasses.replace(a_scan(), name="cost_$x^_$")
    plot.scan(scan).savefig(io.BytesIO())


def test_what_has_no_figure_is_refused() -> None:
    with pytest.raises(Unsupported, match="no figure for Result"):
        plot.draw(Result())


# -- what can be read


def assert_readable(figure: Figure) -> None:
    """Check that no text is cut off at the border of a figure, and no legend stands in a panel."""
    figure.draw_without_rendering()
    width, height = figure.bbox.max
    beyond = {
        id(label)
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible() and id(text) not in beyond:
            box = text.get_window_extent()
            cut = max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)
            assert cut < 2, f"{text.get_text()!r} is cut by {cut:.0f} pixels"
    for legend in figure.findobj(Legend):
        box = legend.get_window_extent()
        for ax in figure.axes:
            panel = ax.get_window_extent()
            assert (
                min(box.x1, panel.x1) - max(box.x0, panel.x0) < 2 or min(box.y1, panel.y1) - max(box.y0, panel.y0) < 2
            )


LONG = "theory_uncertainty_of_the_irreducible_background"


def with_long_names() -> dict[str, Result]:
    names = tuple(f"{LONG}_{k}" for k in range(4))
    report, long = a_report(3), {"class": LONG, "feature": f"cosh({LONG}) * sqrt({LONG})"}
    classifiers = tuple(
        {**c, "name": LONG, "calibration": {f"{LONG}_{k}": c["calibration"][c["classes"][0]] for k in range(9)},
         "reweighting": [{**cell, **long} for cell in c["reweighting"]]}
        for c in report.classifiers
    )  # fmt: skip
    fit = dataclasses.replace(
        a_fit(), names=names, minos={names[0]: (-0.28, 0.33)}, constraints={names[2]: (1.0, 0.02)}
    )
    return {
        "fit": fit,
        "free": dataclasses.replace(fit, labels=("free",) * 4, bestfit=1e5 * fit.bestfit),
        "scan": dataclasses.replace(a_scan(), name=LONG * 3),
        "flat scan": dataclasses.replace(a_scan(), delta_twice_nll=0.02 * a_scan().delta_twice_nll),
        "scan of two": dataclasses.replace(a_scan_of_two(), name=(LONG * 2, LONG)),
        "limit": dataclasses.replace(a_limit(), name=LONG * 2),
        "cls": dataclasses.replace(some_cls(), name=LONG * 2),
        "significance": dataclasses.replace(a_significance(), name=LONG * 2),
        "interval": dataclasses.replace(an_interval(), name=LONG * 2),
        "coverage": dataclasses.replace(a_coverage(("mu", "norm")), names=names[:2], poi=names[0]),
        "toys": dataclasses.replace(some_toys(), names=(LONG * 2, "norm")),
        "posterior": dataclasses.replace(a_posterior(4), names=names),
        "locals": dataclasses.replace(some_locals(), names=names[:2]),
        "stream": dataclasses.replace(a_stream(), names=names[:2]),
        "test statistic": dataclasses.replace(a_test_statistic(), name=LONG * 2),
        "training": dataclasses.replace(report, channel=LONG * 2, classifiers=classifiers),
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "result"), with_long_names().items(), ids=with_long_names())
def test_long_names_are_not_cut_off_and_no_legend_is_on_a_curve(kind: str, result: Result) -> None:
    assert_readable(result.plot())


def test_long_names_of_correlations_and_of_several_analyses_are_not_cut_off() -> None:
    assert_readable(plot.correlations(with_long_names()["fit"]))  # type: ignore[arg-type]
    assert_readable(plot.scans({f"{LONG}_{k}": a_scan() for k in range(6)}))


# -- data over the prediction


def a_distribution(name: str = "mass", samples: int = 3, bins: int = 12, **options: object) -> Distribution:
    rng = np.random.default_rng(1)
    yields = {f"sample {k}": rng.uniform(1.0, 30.0, bins) for k in range(samples)}
    total = np.sum(list(yields.values()), axis=0)
    fields: dict[str, object] = {
        "channel": "SR", "name": name, "kind": "feature", "label": name, "edges": np.linspace(100.0, 160.0, bins + 1),
        "ends": ("", ""), "yields": yields, "error": 0.1 * total, "simulation_error": 0.02 * total,
        "total_error": 12.0, "data": rng.poisson(total).astype(float), "chi_squared": 11.3, "degrees": 12,
        "p_value": 0.5, **options,
    }  # fmt: skip
    return Distribution(**fields)  # type: ignore[arg-type]


def a_prediction(*distributions: Distribution) -> PredictionResult:
    return PredictionResult("post-fit", "", {"mu": 1.0}, distributions or (a_distribution(),))


OPEN = {"edges": np.array([-np.inf, 0.0, 1.0, 2.0, np.inf]), "ends": ("-999", "≥ 2")}
AWKWARD = {
    "no data events": a_distribution(data=np.zeros(12)),
    "blind": a_distribution(data=None, chi_squared=np.nan, degrees=0, p_value=np.nan),
    "one sample": a_distribution(samples=1),
    "very many samples": a_distribution(samples=40),
    "one bin": a_distribution(bins=1),
    "open ends": a_distribution(bins=4, **OPEN),
    "open ends of one bin": a_distribution(bins=2, edges=np.array([-np.inf, 0.0, 1.0]), ends=("-1", "")),
    "bins of very different width": a_distribution(bins=3, edges=np.array([0.0, 1.0, 10.0, 1000.0])),
    "nothing expected": a_distribution(yields={"signal": np.zeros(12)}, error=np.zeros(12)),
    "negative contents": a_distribution(yields={"a": np.full(12, 9.0), "interference": np.full(12, -3.0)}),
    "an unknown uncertainty": a_distribution(error=np.full(12, np.inf)),
    "one high bin": a_distribution(yields={"a": np.array([1e5, *np.geomspace(100, 0.01, 11)])}),
    "a long expression": a_distribution("sqrt(2*pt[:,0]*pt[:,1]*(cosh(eta[:,0]-eta[:,1])-cos(phi[:,0]-phi[:,1])))" * 2),
    "dollars": a_distribution("cost_$x^_$"),
}


@pytest.mark.parametrize("one", AWKWARD.values(), ids=AWKWARD)
def test_any_distribution_is_drawn_without_a_warning(one: Distribution) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        a_prediction(one).plot().savefig(io.BytesIO(), format="png")


def test_a_prediction_has_a_panel_and_a_ratio_for_each_distribution_and_names_all_samples() -> None:
    result = a_prediction(a_distribution("mass"), a_distribution("pt"), a_distribution("", kind="bins", channel="CR"))
    figure = result.plot()
    assert len(figure.axes) == 6
    found = texts(figure)
    assert {"mass", "pt", "data", "uncertainty", "sample 0", "sample 1", "sample 2", "data / prediction"} <= found
    assert any("= 11.3 / 12, p = 0.5" in text for text in found)
    assert len(plot.features(result, "CR").axes) == 2


def test_the_smallest_of_very_many_samples_stand_together_but_never_the_first() -> None:
    yields = {f"sample {k}": np.full(12, 0.1 + k) for k in range(40)}
    found = texts(a_prediction(a_distribution(yields=yields)).plot())
    assert {"sample 0", "sample 39", "31 other samples"} <= found
    assert "sample 1" not in found


def test_a_stack_with_negative_samples_is_not_cut_off() -> None:
    """The positive samples reach above the total, the negative ones below zero."""
    ax = a_prediction(AWKWARD["negative contents"]).plot().axes[0]
    low, high = ax.get_ylim()
    assert low < -3.0
    assert high > 9.0


def test_open_bins_say_what_is_in_them() -> None:
    assert {"-999", "≥ 2"} <= texts(a_prediction(AWKWARD["open ends"]).plot())


@pytest.mark.parametrize("samples", [1, 12])
def test_the_legend_of_a_prediction_is_on_no_panel_and_no_label_is_cut_off(samples: int) -> None:
    one = a_distribution("mass_of_the_two_leading_jets_" * 4, samples=samples)
    figure = a_prediction(*(dataclasses.replace(one, name=f"{k}") for k in range(5))).plot()
    assert_readable(figure)


def test_there_is_nothing_to_draw_of_a_channel_that_is_not_there() -> None:
    with pytest.raises(Unsupported, match="no distribution of XR"):
        plot.features(a_prediction(), "XR")


def test_a_stream_narrows_about_the_truth() -> None:
    figure = plot.stream(a_stream(), ["mu"], truth={"mu": 0.0})
    [ax] = figure.axes
    assert (ax.get_ylabel(), ax.get_xlabel(), ax.get_xscale()) == ("mu", "elements", "log")
    assert "truth" in ax.get_legend_handles_labels()[1]


def test_a_report_of_very_many_classes_shows_those_that_close_worst():
    many = [f"pdf_{k} hi" for k in range(60)]
    entry = a_report(1).classifiers[0]
    [cell, *_] = entry["reweighting"]
    fine, off = cell["target"], [2 * content for content in cell["target"]]
    cells = [{**cell, "class": name, "reweighted": off if name in ("pdf_7 hi", "pdf_40 hi") else fine} for name in many]
    curves = dict.fromkeys(many, entry["calibration"]["signal"])
    report = TrainingReport("SR", ("x0",), ({**entry, "classes": many, "calibration": curves, "reweighting": cells},))
    shown = report.rows()[0]
    assert "(60 in all)" in shown[1]
    assert "pdf_7 hi " in shown[-1]
    assert "pdf_40 hi " in shown[-1]
    assert shown[-1].endswith(", better in 52 others")
    figure = report.plot()
    assert figure.get_size_inches()[1] < 30
