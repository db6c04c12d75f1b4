"""Graphs as ONNX files: tracing, storage of the weights, and the comparison with torch by onnxruntime."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ijepa_viz.page.onnx_graphs import Graph

# How weights are stored. They are computed with in float32 in any case: onnxruntime converts them once, at loading.
WEIGHTS = ("float32", "float16", "int8", "mixed")

# Largest whole number of a weight of 8, 7 and 6 bits. Files of whole numbers are packed by gzip, which makes the latter
# small.
_LEVELS = {"int8": 127, "int7": 63, "int6": 31}
PACKED = ("int8", "mixed")

# Of "mixed": fewer bits for the decoder, by far the largest part. What tokens are sampled decides what is drawn, so
# theirs have one more than the drawing network's, whose difference stays small (tools/page_parity.py); the I-JEPA,
# whose numbers the page shows, has int8.
_MIXED = {"denoise": "int6", "denoise_tokens": "int7"}

# Largest accepted difference from torch, relative to outputs of 1 or more, where the weights are exact.
TOLERANCE = 1e-4

# Fewer weights than these are not worth a conversion.
_SMALL = 256

# The first with GELU, exact and by tanh, as one operator.
_OPSET = 20


def onnx_bytes(graph: Graph) -> bytes:
    """Trace a graph's module to an ONNX file with float32 weights.

    By torch's tracer, not by ``torch.export``, which takes 20 times as long and another package; :func:`difference`
    then shows that no length was fixed by the example.

    Raises:
        RuntimeError: onnx is missing.
    """
    import_onnx()
    free: dict[str, Any] = {name: dict(lengths) for name, lengths in graph.inputs.items() if lengths}
    free |= {name: {0: "batch"} for name in graph.outputs}
    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        torch.onnx.export(
            graph.module.eval(),
            graph.example,
            file,  # type: ignore[arg-type]  # a file of the tracer's, which the types leave out
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=free,
            dynamo=False,
            opset_version=_OPSET,
        )
    return file.getvalue()


def stored_as(data: bytes, weights: str) -> bytes:
    """Store the weights of an ONNX file as ``weights``, of :func:`kind_of`; they are computed with in float32.

    int8, int7 and int6 are whole numbers to 127, 63 and 31, with one scale a column of a matrix (of its outputs); they
    leave vectors in float16.

    Raises:
        ValueError: an unknown kind.
    """
    known = ("float32", "float16", *_LEVELS)
    if weights not in known:
        raise ValueError(f"weights is one of {', '.join(known)}, got {weights!r}.")
    if weights == "float32":
        return data
    import onnx

    model = onnx.load_from_string(data)
    first = []
    for tensor in list(model.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _SMALL:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        levels = _LEVELS.get(weights) if values.ndim == 2 else None
        parts, nodes = _as_whole(tensor.name, values, levels) if levels else _as_half(tensor.name, values)
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(parts)
        first += nodes
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*first, *nodes])
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _as_half(name: str, values: np.ndarray) -> tuple[list[Any], list[Any]]:
    import onnx
    from onnx import helper

    half = onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
    return [half], [helper.make_node("Cast", [half.name], [name], to=onnx.TensorProto.FLOAT)]


def _as_whole(name: str, values: np.ndarray, levels: int) -> tuple[list[Any], list[Any]]:
    import onnx
    from onnx import helper

    scale = np.maximum(np.abs(values).max(0, keepdims=True) / levels, 1e-12).astype(np.float32)
    whole = onnx.numpy_helper.from_array(np.round(values / scale).astype(np.int8), f"{name}.int8")
    factor = onnx.numpy_helper.from_array(scale, f"{name}.scale")
    return [whole, factor], [
        helper.make_node("Cast", [whole.name], [f"{name}.whole"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.whole", factor.name], [name]),
    ]


def kind_of(graph: Graph, weights: str) -> str:
    """How a graph's weights are stored among those of ``weights``, one of :data:`WEIGHTS`."""
    return _MIXED.get(graph.name, "int8") if weights == "mixed" else weights


def session_of(data: bytes) -> Any:
    """Onnxruntime's session of an ONNX file, on one thread of the CPU."""
    import_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(session: Any, graph: Graph, arguments: tuple[Tensor, ...]) -> list[Tensor]:
    """Outputs of a graph's file for the arguments of its module."""
    known = {node.name for node in session.get_inputs()}
    feeds = {n: a.numpy() for n, a in zip(graph.inputs, arguments, strict=True) if n in known}
    return [torch.from_numpy(value) for value in session.run(list(graph.outputs), feeds)]


def difference(data: bytes, graph: Graph) -> float:
    """Largest difference of the file from the module, relative to outputs of 1 or more, over the graph's tests."""
    session = session_of(data)
    largest = 0.0
    for arguments in (graph.example, *graph.tests):
        with torch.no_grad():
            outputs = graph.module(*arguments)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        for expected, found in zip(outputs, run(session, graph, arguments), strict=True):
            if expected.shape != found.shape:
                raise RuntimeError(f"The file {graph.name} gives {tuple(found.shape)} for {tuple(expected.shape)}.")
            gap = (found - expected).abs() / expected.abs().clamp_min(1)
            largest = float(np.maximum(largest, float(gap.max())))  # max() would drop a NaN
    return largest


def checked_bytes(graph: Graph, weights: str) -> tuple[bytes, float]:
    """The file of a graph, and its difference from torch.

    Raises:
        RuntimeError: with exact weights it differs by more than :data:`TOLERANCE`, or as ``weights`` they overflow. Or
            onnx is missing.
    """
    exact = onnx_bytes(graph)
    gap = difference(exact, graph)
    if not gap <= TOLERANCE:
        raise RuntimeError(
            f"onnxruntime differs from torch by {gap:.1e} in the network {graph.name!r} ({TOLERANCE} is accepted): "
            "this model is not exported."
        )
    data = stored_as(exact, weights)
    if data != exact:
        gap = difference(data, graph)
        if not np.isfinite(gap):
            raise RuntimeError(f"Weights as {weights} overflow in the network {graph.name!r}: take --weights float32.")
    return data, gap


def import_onnx() -> None:
    """Check that onnx and onnxruntime are there.

    Raises:
        RuntimeError: one is missing; the message says what to install.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise RuntimeError(
            f"The export to ONNX needs the package {error.name}: pip install 'ijepa-viz[page]', or `make page`."
        ) from error
