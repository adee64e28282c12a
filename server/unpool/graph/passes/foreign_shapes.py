"""Operators of ONNX Runtime as standard ones of the same shapes, for onnx's inference, which does not know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import onnx
from onnx import NodeProto, TensorProto, helper

_Attributes: TypeAlias = Mapping[str, onnx.AttributeProto]
_Rewrite: TypeAlias = Callable[[NodeProto, _Attributes], Sequence[NodeProto]]

_WINDOW: Final = ("auto_pad", "ceil_mode", "dilations", "group", "kernel_shape", "pads", "strides")
_RECURRENT: Final = ("direction", "hidden_size")


def _call(op_type: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: onnx.AttributeProto) -> NodeProto:
    node = helper.make_node(op_type, inputs, outputs)
    node.attribute.extend(attributes)
    return node


def _like(place: int, *outputs: int) -> _Rewrite:
    """These outputs, by default the first, have the shape and the type of an input."""

    def rewrite(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
        named = [node.output[i] for i in outputs or (0,) if i < len(node.output) and node.output[i]]
        return [_call("Identity", [node.input[place]], [name]) for name in named]

    return rewrite


def _as(op_type: str, places: Sequence[int], *kept: str) -> _Rewrite:
    """Another operator of some of the inputs, with some of the attributes."""

    def rewrite(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
        inputs = [node.input[i] for i in places if i < len(node.input)]
        return [_call(op_type, inputs, node.output[:1], *(attributes[k] for k in kept if k in attributes))]

    return rewrite


def _channels_first(inner: _Rewrite) -> _Rewrite:
    """Only where the channels stand first, as in the standard."""

    def rewrite(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
        last = "channels_last" in attributes and attributes["channels_last"].i
        return [node] if last else inner(node, attributes)

    return rewrite


def _alone(inner: _Rewrite) -> _Rewrite:
    """Only where no other output is asked for, whose shapes the standard's own inference has to tell."""
    return lambda node, attributes: [node] if any(node.output[1:]) else inner(node, attributes)


def _concat(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
    return [_call("Concat", node.input[2::3], node.output, attributes["axis"])]


def _gemm(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
    turned = [attributes[k] for k in ("transA", "transB") if k in attributes]
    if len(node.input) > 8 and node.input[8]:
        return [_call("Gemm", [node.input[0], node.input[3]], node.output, *turned)]
    between = f"{node.output[0]}:whole"
    return [
        _call("Gemm", [node.input[0], node.input[3]], [between], *turned),
        _call("Cast", [between], node.output, helper.make_attribute("to", TensorProto.FLOAT)),
    ]


def _matmul_to_float(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
    between = f"{node.output[0]}:whole"
    return [
        _call("MatMul", node.input[:2], [between]),
        _call("Cast", [between], node.output, helper.make_attribute("to", TensorProto.FLOAT)),
    ]


def _matmul_by_bits(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
    weight = f"{node.output[0]}:weight"
    extents = helper.make_tensor(f"{weight}.extents", TensorProto.INT64, [2], [attributes["K"].i, attributes["N"].i])
    return [
        _call("Constant", [], [extents.name], helper.make_attribute("value", extents)),
        _call("ConstantOfShape", [extents.name], [weight]),
        _call("MatMul", [node.input[0], weight], node.output),
    ]


def _plain_matmul(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
    turned = any(k.startswith("trans") and a.i for k, a in attributes.items())
    return [node] if turned else [_call("MatMul", node.input[:2], node.output)]


def _to_float(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
    return [_call("Cast", node.input[:1], node.output[:1], helper.make_attribute("to", TensorProto.FLOAT))]


def _self_attention(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
    return [node] if "qkv_hidden_sizes" in attributes else _like(0)(node, attributes)


def _embedded(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
    named = [node.output[i] for i in (0, 2) if i < len(node.output) and node.output[i]]
    return [_call("Gather", [node.input[2], node.input[0]], [name]) for name in named]


def _dequantised(op_type: str) -> _Rewrite:
    return _as(op_type, (0, 1, 2), "axis")


def _for_each_row(node: NodeProto, output: str, columns: int) -> Sequence[NodeProto]:
    """As many numbers for every row of the first input, (N, columns)."""
    extents = helper.make_tensor(f"{output}.extents", TensorProto.INT64, [2], [1, columns])
    return [
        _call("Constant", [], [extents.name], helper.make_attribute("value", extents)),
        _of_rows(node, f"{output}.row", keepdims=1),
        _call("Expand", [f"{output}.row", extents.name], [f"{output}.rows"]),
        _call("Cast", [f"{output}.rows"], [output], helper.make_attribute("to", TensorProto.FLOAT)),
    ]


def _of_rows(node: NodeProto, output: str, *, keepdims: int) -> NodeProto:
    """A whole number for every row; at every opset alike."""
    named = helper.make_attribute("axis", 1), helper.make_attribute("keepdims", keepdims)
    return _call("ArgMax", node.input[:1], [output], *named)


def _regressed(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
    count = next((attributes[k].i for k in ("n_targets", "targets") if k in attributes), 1)
    return _for_each_row(node, node.output[0], count)


def _classified(node: NodeProto, attributes: _Attributes) -> Sequence[NodeProto]:
    labels = [attributes[k] for k in _LABELS if k in attributes]
    count = max((len(a.ints) or len(a.strings) for a in labels), default=0)
    if not count or len(node.output) != 2 or not all(node.output):
        return [node]
    return [_of_rows(node, node.output[0], keepdims=0), *_for_each_row(node, node.output[1], count)]


_LABELS: Final = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")
_MICROSOFT: Final[Mapping[str, _Rewrite]] = {
    **{name: _like(0) for name in ("Gelu", "BiasGelu", "FastGelu", "QuickGelu", "Trilu", "RotaryEmbedding")},
    **{name: _like(0) for name in ("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "MultiHeadAttention")},
    "SimplifiedLayerNormalization": _like(0),
    "SkipLayerNormalization": _like(0, 0, 3),
    "SkipSimplifiedLayerNormalization": _like(0, 0, 3),
    "EmbedLayerNormalization": _embedded,
    "Attention": _self_attention,
    "QuantizeLinear": _dequantised("QuantizeLinear"),
    "DequantizeLinear": _dequantised("DequantizeLinear"),
    "FusedConv": _as("Conv", (0, 1), *_WINDOW),
    "FusedMatMul": _plain_matmul,
    "FusedGemm": _as("Gemm", (0, 1), "transA", "transB"),
    "QLinearAdd": _as("Add", (0, 3)),
    "QLinearMul": _as("Mul", (0, 3)),
    "QLinearGlobalAveragePool": _channels_first(_as("GlobalAveragePool", (0,))),
    "QLinearAveragePool": _channels_first(_as("AveragePool", (0,), *_WINDOW)),
    "QLinearConcat": _concat,
    "QGemm": _gemm,
    "MatMulIntegerToFloat": _matmul_to_float,
    "DynamicQuantizeMatMul": _as("MatMul", (0, 1)),
    "MatMulNBits": _matmul_by_bits,
    "DynamicQuantizeLSTM": _as("LSTM", (0, 1, 2), *_RECURRENT),
}


_REWRITES: Final[Mapping[str, Mapping[str, _Rewrite]]] = {
    "": {"SimplifiedLayerNormalization": _like(0), "LayerNormalization": _alone(_like(0))},
    "com.microsoft": _MICROSOFT,
    "ai.onnx.ml": {
        **dict.fromkeys(("Scaler", "Normalizer", "Imputer"), _to_float),
        **dict.fromkeys(("TreeEnsemble", "TreeEnsembleRegressor", "LinearRegressor", "SVMRegressor"), _regressed),
        **dict.fromkeys(("TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier"), _classified),
    },
}


def as_standard(node: NodeProto) -> Sequence[NodeProto]:
    """A node of another domain as nodes of ai.onnx with the same shapes; itself where there are none."""
    rewrite = _REWRITES.get(node.domain, {}).get(node.op_type)
    return rewrite(node, {a.name: a for a in node.attribute}) if rewrite else [node]
