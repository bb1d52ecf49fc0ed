"""From inputs to a model: the networks' training, and the verdict on it.

``train`` is the way through. Every network is trained by one ``loop``, which goes on from its ``checkpoints``.
A channel of known samples (``mixture``) takes cross-fitted classifiers (``crossfit``), whose ``closure`` is reported.
A dataset-wide network (``setwise``) is trained by contrast over the parameters (``contrastive``): where datasets are
simulated (``proposals``), how they are held (``bank``), what is minimised (``losses``). Datasets it has not seen
(``fresh``) then examine it (``examination``): its ratio (``ratio_checks``), intervals by the asymptotic formulas
(``asymptotics``), and one line that says what not to trust (``verdicts``). ``statistic`` trains a test statistic.
"""
