"""Simulators in files of Python, which the command line names ``FILE.py:NAME``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from neyman.exceptions import InvalidSimulation
from neyman.inputs.simulator import Simulator
from neyman.support.messages import did_you_mean

__all__ = ["is_simulator", "load_simulator"]


def __dir__() -> list[str]:
    return __all__


def is_simulator(text: str | Path) -> bool:
    """Whether a text names a Python file, with or without the name of an object in it.

    Example:
        >>> is_simulator("model.py:simulator"), is_simulator("analysis.yaml")
        (True, False)
    """
    return str(text).endswith(".py") or ".py:" in str(text)


def load_simulator(text: str | Path) -> Simulator:
    """Import a Python file and return a simulator in it.

    The file is imported as the module of its name, and its folder can be imported from afterwards: so what is
    in it can be sent to other processes, which import it too. Nothing but what the user names is run.

    Args:
        text: the file and the name of the simulator in it, ``FILE.py:NAME``.

    Returns:
        The simulator.

    Raises:
        InvalidSimulation: if the file or the name does not exist, importing the file fails, the name is that of
            something else, or another module has the file's name.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> code = '''
        ... from neyman import Simulator
        ...
        ... def counts(pars, rng):
        ...     return rng.normal(0.0, 1.0, size=(rng.poisson(pars[0]), 1))
        ...
        ... simulator = Simulator(counts, [{"name": "rate", "inits": [1.0], "bounds": [[0, 9]]}], "rate", ["x"])
        ... '''
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "counting_example.py").write_text(code)
        ...     load_simulator(f"{folder}/counting_example.py:simulator")
        Simulator(counts; parameters: rate; POI rate; features: x)
    """
    file, _, name = str(text).rpartition(":")
    if not name or not file.endswith(".py"):
        raise InvalidSimulation(f"{text}: name the simulator in the file, as in {text}:simulator")
    module = _module(Path(file))
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if isinstance(value, Simulator)]
        raise InvalidSimulation(
            f"{file}: no {name!r} in it; {did_you_mean(name, known) if known else 'it has no neyman.Simulator at all'}"
        )
    found = getattr(module, name)
    if not isinstance(found, Simulator):
        raise InvalidSimulation(f"{text} is of the type {type(found).__name__}: make it a neyman.Simulator")
    return found


def _module(path: Path) -> ModuleType:
    """Import a file as the module of its name."""
    if not path.is_file():
        raise InvalidSimulation(f"{path}: {'a folder, not a Python file' if path.is_dir() else 'no such file'}")
    name, path = path.stem, path.resolve()
    if not name.isidentifier():
        raise InvalidSimulation(f"{path}: {name!r} cannot be the name of a module: rename the file")
    if (folder := str(path.parent)) not in sys.path:
        sys.path.append(folder)  # at the end: it must not hide modules of Python
    importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module without a specification, as __main__
        spec = None
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != path:
        raise InvalidSimulation(f"{path}: another module has the name {name!r} already: rename the file")
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidSimulation(f"{path}{f', line {line}' if line else ''}: importing it failed ({what})") from error
