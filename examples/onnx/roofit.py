"""An exported model as a RooFit likelihood: ROOT's HistFactory for the rates, the learned ratios beside it.

    python roofit.py FOLDER

fits the data that came with the model. It was written with ROOT 6.40, and needs NumPy and onnxruntime, and no neyman.
"""

import json
import sys
from pathlib import Path

import numpy as np
import ROOT
from evaluate import encode

CODE = """
struct Groups {  // the normalisation of a sample
   std::vector<double> weights, points, covariances;
};

class LearnedRatio : public RooAbsReal {  // minus what the events of a channel say beside their number
public:
   LearnedRatio(const char *name, const RooArgList &rates, const RooArgList &alphas, std::vector<double> ratios,
                std::vector<double> slopes, std::vector<double> curvatures, std::vector<double> weights,
                std::vector<int> owners, std::vector<int> oneSided, std::vector<Groups> groups)
      : RooAbsReal(name, name), _rates("rates", "", this), _alphas("alphas", "", this), _ratios(std::move(ratios)),
        _slopes(std::move(slopes)), _curvatures(std::move(curvatures)), _weights(std::move(weights)),
        _owners(std::move(owners)), _oneSided(std::move(oneSided)), _groups(std::move(groups))
   {
      _rates.add(rates);
      _alphas.add(alphas);
   }
   LearnedRatio(const LearnedRatio &other, const char *name = nullptr)
      : RooAbsReal(other, name), _rates("rates", this, other._rates), _alphas("alphas", this, other._alphas),
        _ratios(other._ratios), _slopes(other._slopes), _curvatures(other._curvatures), _weights(other._weights),
        _owners(other._owners), _oneSided(other._oneSided), _groups(other._groups)
   {
   }
   TObject *clone(const char *name) const override { return new LearnedRatio(*this, name); }

protected:
   static double curve(double alpha, bool oneSided)
   {
      const double a = std::abs(alpha), s = a * a;
      if (oneSided)
         return a <= 1 ? s * (15 - 10 * s + 3 * s * s) / 8 : a;
      return a <= 2 ? s : 4 * a - 4;
   }

   static double logNormalisation(const Groups &groups, const std::vector<double> &t)
   {
      const std::size_t d = t.size();
      std::vector<double> exponents(groups.weights.size());
      for (std::size_t g = 0; g < exponents.size(); ++g) {
         double exponent = 0;
         for (std::size_t i = 0; i < d; ++i) {
            exponent += groups.points[g * d + i] * t[i];
            if (!groups.covariances.empty())
               for (std::size_t j = 0; j < d; ++j)
                  exponent += 0.5 * groups.covariances[(g * d + i) * d + j] * t[i] * t[j];
         }
         exponents[g] = exponent;
      }
      const double peak = *std::max_element(exponents.begin(), exponents.end());
      double sum = 0;
      for (std::size_t g = 0; g < exponents.size(); ++g)
         sum += groups.weights[g] * std::exp(exponents[g] - peak);
      return peak + std::log(sum);
   }

   double evaluate() const override
   {
      const std::size_t nSamples = _rates.size(), nVariations = _alphas.size();
      std::vector<double> rate(nSamples), u(nVariations), v(nVariations), logZ(nSamples, 0.0);
      double total = 0;
      for (std::size_t c = 0; c < nSamples; ++c)
         total += rate[c] = static_cast<const RooAbsReal &>(_rates[c]).getVal();
      std::vector<std::vector<double>> t(nSamples);
      for (std::size_t k = 0; k < nVariations; ++k) {
         u[k] = static_cast<const RooAbsReal &>(_alphas[k]).getVal();
         v[k] = curve(u[k], _oneSided[k]);
         t[_owners[k]].push_back(u[k]);
      }
      for (std::size_t k = 0; k < nVariations; ++k)
         t[_owners[k]].push_back(v[k]);
      for (std::size_t c = 0; c < nSamples; ++c)
         if (!t[c].empty())
            logZ[c] = logNormalisation(_groups[c], t[c]);
      double value = 0;
      std::vector<double> exponent(nSamples);
      for (std::size_t i = 0; i < _weights.size(); ++i) {
         for (std::size_t c = 0; c < nSamples; ++c)
            exponent[c] = -logZ[c];
         for (std::size_t k = 0; k < nVariations; ++k)
            exponent[_owners[k]] += u[k] * _slopes[i * nVariations + k] + v[k] * _curvatures[i * nVariations + k];
         double density = 0;
         for (std::size_t c = 0; c < nSamples; ++c)
            density += rate[c] / total * _ratios[i * nSamples + c] * std::exp(exponent[c]);
         value -= _weights[i] * std::log(density);
      }
      return value;
   }

private:
   RooListProxy _rates, _alphas;
   std::vector<double> _ratios, _slopes, _curvatures, _weights;
   std::vector<int> _owners, _oneSided;
   std::vector<Groups> _groups;
};
"""


def numbers(array, kind="double"):
    """Return an array as a vector of C++."""
    return ROOT.std.vector[kind](np.asarray(array).ravel().tolist())


def histogram(name, values):
    """Return bins of width one, which HistFactory is to own."""
    found = ROOT.TH1D(name, name, len(values), 0, len(values))
    found.SetDirectory(ROOT.nullptr)
    ROOT.SetOwnership(found, False)
    for number, value in enumerate(values, start=1):
        found.SetBinContent(number, value)
    return found


def measurement(document, observed):
    """Return the rates and constraint terms as ROOT's HistFactory has them."""
    parameters = {one["name"]: one for one in document["parameters"]}
    found = ROOT.RooStats.HistFactory.Measurement("exported", "exported")
    found.SetPOI(document["parameter_of_interest"])
    found.SetLumi(1.0)  # ROOT's own, which stays there: it would multiply all samples
    for channel in document["histfactory"]["channels"]:
        one = ROOT.RooStats.HistFactory.Channel(channel["name"])
        one.SetData(histogram(f"{channel['name']}_data", observed[channel["name"]]))
        for sample in channel["samples"]:
            name = f"{channel['name']}_{sample['name']}"
            made = ROOT.RooStats.HistFactory.Sample(sample["name"])
            made.SetHisto(histogram(name, sample["data"]))
            for modifier in sample["modifiers"]:
                key, kind, data = modifier["name"], modifier["type"], modifier["data"]
                if kind in ("normfactor", "lumi"):
                    low, high = parameters[key]["bounds"]
                    made.AddNormFactor(key, parameters[key]["start"], low, high)
                elif kind == "normsys":
                    made.AddOverallSys(key, data["lo"], data["hi"])
                elif kind == "histosys":
                    system = ROOT.RooStats.HistFactory.HistoSys()
                    system.SetName(key)
                    system.SetHistoLow(histogram(f"{name}_{key}_lo", data["lo_data"]))
                    system.SetHistoHigh(histogram(f"{name}_{key}_hi", data["hi_data"]))
                    made.AddHistoSys(system)
                else:
                    raise ValueError(f"this example knows no modifier of the type {kind}: {key}")
            one.AddSample(made)
        found.AddChannel(one)
    return found


def parameter(workspace, name):
    """Return a parameter by its name in the document."""
    return workspace.var(name) or workspace.var(f"alpha_{name}")


def sample_rates(workspace, channel):
    """Return the expected events of a learned channel's samples, in their order."""
    density = workspace.pdf(f"{channel['name']}_model")
    found = {}
    for function, coefficient in zip(density.funcList(), density.coefList(), strict=True):
        for sample in channel["samples"]:
            if function.GetName().startswith(f"{sample}_{channel['name']}_"):
                found[sample] = ROOT.RooProduct(f"rate_{sample}", "", ROOT.RooArgList(function, coefficient))
    return [found[sample] for sample in channel["samples"]]


def learned(workspace, folder, channel, events):
    """Return what the events of a learned channel say, as a RooFit function of the parameters."""
    ratios, slopes, curvatures = encode(folder, channel, events["features"])
    variations = channel["variations"]
    groups = ROOT.std.vector["Groups"](len(channel["samples"]))
    for one in channel["normalisations"]:
        to = groups[channel["samples"].index(one["sample"])]
        to.weights, to.points = numbers(one["weights"]), numbers(one["points"])
        to.covariances = numbers(one.get("covariances", []))
    rates = sample_rates(workspace, channel)
    alphas = [parameter(workspace, one["parameter"]) for one in variations]
    found = ROOT.LearnedRatio(
        f"{channel['name']}_learned",
        ROOT.RooArgList(rates),
        ROOT.RooArgList(alphas),
        numbers(ratios),
        numbers(slopes),
        numbers(curvatures),
        numbers(events["weights"]),
        numbers([channel["samples"].index(one["sample"]) for one in variations], "int"),
        numbers([one["interpolation"] == "one-sided" for one in variations], "int"),
        groups,
    )
    found.rates = rates  # Python owns them
    return found


def likelihood(folder, dataset=None):
    """Return the document, the workspace and minus the logarithm of the likelihood, up to a constant.

    Args:
        folder: of the exported model.
        dataset: counts and events; those that came with the model if left out.
    """
    if not hasattr(ROOT, "LearnedRatio"):
        ROOT.gInterpreter.Declare(CODE)
    document = json.loads(Path(folder, "likelihood.json").read_text())
    dataset = dataset or document["observed"]
    if dataset is None:
        raise ValueError(f"{folder}: the model came without data, so there is nothing to fit")
    totals = {name: [sum(one["weights"])] for name, one in dataset["events"].items()}
    made = measurement(document, {**dataset["counts"], **totals})
    workspace = ROOT.RooStats.HistFactory.MakeModelAndMeasurementFast(made)
    config = workspace.obj("ModelConfig")
    for observable in config.GetObservables():
        if isinstance(observable, ROOT.RooRealVar):
            observable.setConstant(True)  # the rates depend on the number of the bin, but that is no parameter
    workspace.var("Lumi").setConstant(True)
    of_bins = config.GetPdf().createNLL(
        workspace.data("obsData"),
        ROOT.RooFit.GlobalObservables(config.GetGlobalObservables()),
        ROOT.RooFit.Offset("none"),
    )
    terms = ROOT.RooArgList(of_bins)
    of_events = []
    for channel in document["learned_channels"]:
        of_events.append(learned(workspace, folder, channel, dataset["events"][channel["name"]]))
        terms.add(of_events[-1])
    constraints = []
    for term in document["constraints"]:  # those of normsys and histosys are in HistFactory's
        if workspace.var(term["parameter"]):
            formula = f"0.5 * pow((x[0] - {term['auxiliary_datum']}) / {term['sigma']}, 2)"
            variables = ROOT.RooArgList(workspace.var(term["parameter"]))
            constraints.append(ROOT.RooFormulaVar(f"{term['parameter']}_constraint", formula, variables))
            terms.add(constraints[-1])
    total = ROOT.RooAddition("nll", "nll", terms)
    total.parts = [of_bins, *of_events, *constraints]
    return document, workspace, total


def main(folder):
    """Fit, and print the parameters."""
    document, workspace, nll = likelihood(folder)
    minimiser = ROOT.RooMinimizer(nll)
    minimiser.setErrorLevel(0.5)
    minimiser.setPrintLevel(-1)
    minimiser.setStrategy(2)
    minimiser.setEps(0.01)
    minimiser.minimize("Minuit2")
    minimiser.hesse()
    poi = parameter(workspace, document["parameter_of_interest"])
    minimiser.minos(ROOT.RooArgSet(poi))
    for one in document["parameters"]:
        found = parameter(workspace, one["name"])
        print(f"{one['name']:<12} {found.getVal():8.4f} +- {found.getError():.4f}")
    print(f"{poi.GetName()} = {poi.getVal():.4f} {poi.getErrorLo():+.4f} {poi.getErrorHi():+.4f} (MINOS)")


if __name__ == "__main__":
    ROOT.gErrorIgnoreLevel = ROOT.kWarning
    ROOT.RooMsgService.instance().setGlobalKillBelow(ROOT.RooFit.ERROR)
    main(sys.argv[1])
