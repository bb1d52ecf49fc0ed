"""ONNX graphs, built node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.support.extras import from_extra

__all__ = ["Graph"]


def __dir__() -> list[str]:
    return __all__


_OPERATORS = 18  # the version of ONNX's operators, and below the one of its files: runtimes of 2023 know both
_FORMAT = 8


class Graph:
    """An ONNX graph in the making, whose values are named by strings.

    A call adds a node and returns the name of what it makes; arrays among its inputs become constants of the graph.

    Args:
        name: of the graph.
        inputs: by name, the NumPy type and the number of columns of each input, a table with a row for each event.

    Raises:
        Unsupported: if onnx is not installed.

    Example:
        >>> import numpy as np
        >>> graph = Graph("double", {"x": (np.float32, 3)})
        >>> doubled = graph("Mul", "x", np.float32(2.0))
        >>> model = graph.model({"y": (doubled, np.float32, 3)})
        >>> [node.op_type for node in model.graph.node]
        ['Mul', 'Identity']
    """

    def __init__(self, name: str, inputs: Mapping[str, tuple[Any, int]]) -> None:
        self._onnx = from_extra("onnx", "onnx", "ONNX files")
        self._name = name
        self._inputs = [self._table(key, *kind) for key, kind in inputs.items()]
        self._nodes: list[Any] = []
        self._constants: dict[tuple[bytes, str, tuple[int, ...]], Any] = {}

    def __call__(self, operator: str, *inputs: str | NDArray[Any] | np.generic, **attributes: Any) -> str:
        """Add a node and return the name of its output.

        Args:
            operator: its type, as ``"MatMul"``.
            inputs: names of values, or arrays.
            attributes: of the node.
        """
        output = f"{operator.lower()}_{len(self._nodes)}"
        names = [one if isinstance(one, str) else self._constant(np.asarray(one)) for one in inputs]
        self._nodes.append(self._onnx.helper.make_node(operator, names, [output], **attributes))
        return output

    def cast(self, value: str, kind: Any) -> str:
        """Return a value as another NumPy type."""
        return self("Cast", value, to=self._type(kind))

    def model(self, outputs: Mapping[str, tuple[str, Any, int]], about: Mapping[str, str] | None = None) -> Any:
        """Return the checked ``onnx.ModelProto``.

        Args:
            outputs: by name, the value, its NumPy type and its number of columns.
            about: what the file says of itself, by key.
        """
        helper = self._onnx.helper
        for name, (value, _, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [name]))
        tables = [self._table(name, kind, columns) for name, (_, kind, columns) in outputs.items()]
        graph = helper.make_graph(self._nodes, self._name, self._inputs, tables, list(self._constants.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPERATORS)], ir_version=_FORMAT, producer_name="neyman"
        )
        helper.set_model_props(model, dict(about or {}))
        self._onnx.checker.check_model(model, full_check=True)
        return model

    def _constant(self, array: NDArray[Any]) -> str:
        key = array.tobytes(), array.dtype.str, array.shape
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = self._onnx.numpy_helper.from_array(array.copy(), name)
        return str(self._constants[key].name)

    def _table(self, name: str, kind: Any, columns: int) -> Any:
        shape: Sequence[str | int] = ["events", columns]
        return self._onnx.helper.make_tensor_value_info(name, self._type(kind), shape)

    def _type(self, kind: Any) -> int:
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind)))
