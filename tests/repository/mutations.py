"""Broken models made of sound ones: changes of bytes, and of what they say; a seed gives the same file each time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import onnx
from onnx import TensorProto, helper, numpy_helper

_NUMBERS = (0, 1, -1, 2, 3, 7, 255, 1 << 15, -(1 << 31), (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63))
_OPERATORS = sorted({schema.name for schema in onnx.defs.get_all_schemas()})
_TYPES = sorted(TensorProto.DataType.values())


def mutated(seed: int, models: Sequence[onnx.ModelProto]) -> bytes:
    """One broken file.

    Args:
        seed: which.
        models: sound ones.
    """
    rng = random.Random(seed)
    model = onnx.ModelProto()
    model.CopyFrom(rng.choice(models))
    if rng.random() < 0.3:
        data = bytearray(model.SerializeToString())
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            data = rng.choice(_BYTES)(rng, data, models)
        return bytes(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        try:
            rng.choice(_CHANGES)(rng, model)
        except (IndexError, ValueError):  # nothing of the kind in this model
            continue
    return model.SerializeToString()


# -- bytes ----------------------------------------------------------------------------------------------------------


def _flip(rng: random.Random, data: bytearray, models: Sequence[onnx.ModelProto]) -> bytearray:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _overwrite(rng: random.Random, data: bytearray, models: Sequence[onnx.ModelProto]) -> bytearray:
    begin = rng.randrange(len(data) + 1)
    data[begin : begin + rng.choice((1, 4, 16))] = rng.randbytes(rng.choice((1, 4, 16)))
    return data


def _cut(rng: random.Random, data: bytearray, models: Sequence[onnx.ModelProto]) -> bytearray:
    begin = rng.randrange(len(data) + 1)
    del data[begin : begin + rng.choice((1, 2, 100, 10_000))]
    return data


def _end(rng: random.Random, data: bytearray, models: Sequence[onnx.ModelProto]) -> bytearray:
    return data[: rng.randrange(len(data) + 1)]


def _double(rng: random.Random, data: bytearray, models: Sequence[onnx.ModelProto]) -> bytearray:
    begin = rng.randrange(len(data) + 1)
    piece = data[begin : begin + rng.choice((8, 100, 1000))]
    data[begin:begin] = piece
    return data


def _splice(rng: random.Random, data: bytearray, models: Sequence[onnx.ModelProto]) -> bytearray:
    other = rng.choice(models).SerializeToString()
    return data[: rng.randrange(len(data) + 1)] + bytearray(other[rng.randrange(len(other)) :])


_BYTES = (_flip, _flip, _overwrite, _cut, _end, _double, _splice)

# -- structure ------------------------------------------------------------------------------------------------------


def _node(rng: random.Random, model: onnx.ModelProto) -> onnx.NodeProto:
    nodes = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    for node in model.graph.node:
        nodes.extend(n for a in node.attribute for n in a.g.node)
    return rng.choice(nodes)


def _name(rng: random.Random, model: onnx.ModelProto) -> str:
    names = [o for n in model.graph.node for o in (*n.output, *n.input)]
    return rng.choice([*names, *(t.name for t in model.graph.initializer), "", "nowhere", "a\nb\x1b[31m", "x" * 3000])


def _rewire(rng: random.Random, model: onnx.ModelProto) -> None:
    node = _node(rng, model)
    node.input[rng.randrange(len(node.input))] = _name(rng, model)


def _reoutput(rng: random.Random, model: onnx.ModelProto) -> None:
    node = _node(rng, model)
    node.output[rng.randrange(len(node.output))] = _name(rng, model)


def _circle(rng: random.Random, model: onnx.ModelProto) -> None:
    first, last = sorted(rng.sample(range(len(model.graph.node)), 2))
    model.graph.node[first].input[0] = model.graph.node[last].output[0]


def _operator(rng: random.Random, model: onnx.ModelProto) -> None:
    _node(rng, model).op_type = rng.choice(_OPERATORS)


def _domain(rng: random.Random, model: onnx.ModelProto) -> None:
    _node(rng, model).domain = rng.choice(("com.microsoft", "ai.onnx.ml", "own", "evil", "", "ai.onnx.training"))


def _attribute(rng: random.Random, model: onnx.ModelProto) -> None:
    attribute = rng.choice(_node(rng, model).attribute)
    number = rng.choice(_NUMBERS)
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = number
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = number
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = rng.choice((0.0, float("nan"), float("inf"), -1e38, 1e-45))
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = rng.choice((b"", b"\xff\xfe", b"NOTSET", b"VALID", b"a" * 10_000))
    else:
        attribute.type = rng.choice(onnx.AttributeProto.AttributeType.values())


def _attribute_type(rng: random.Random, model: onnx.ModelProto) -> None:
    rng.choice(_node(rng, model).attribute).type = rng.choice(onnx.AttributeProto.AttributeType.values())


def _attribute_length(rng: random.Random, model: onnx.ModelProto) -> None:
    attribute = rng.choice(_node(rng, model).attribute)
    attribute.ints.extend(rng.choices(_NUMBERS, k=rng.choice((1, 2, 60))))


def _attribute_gone(rng: random.Random, model: onnx.ModelProto) -> None:
    node = _node(rng, model)
    del node.attribute[rng.randrange(len(node.attribute))]


def _attribute_more(rng: random.Random, model: onnx.ModelProto) -> None:
    name = rng.choice(("group", "axis", "kernel_shape", "perm", "to", "value", "body", "training_mode", "ceil_mode"))
    value: object = rng.choice((rng.choice(_NUMBERS), [1, 2, 3], "text", 0.5))
    _node(rng, model).attribute.append(helper.make_attribute(name, value))


def _node_gone(rng: random.Random, model: onnx.ModelProto) -> None:
    del model.graph.node[rng.randrange(len(model.graph.node))]


def _node_twice(rng: random.Random, model: onnx.ModelProto) -> None:
    model.graph.node.append(_node(rng, model))


def _initializer_gone(rng: random.Random, model: onnx.ModelProto) -> None:
    del model.graph.initializer[rng.randrange(len(model.graph.initializer))]


def _tensor(rng: random.Random, model: onnx.ModelProto) -> TensorProto:
    attributes = [a.t for n in model.graph.node for a in n.attribute if a.HasField("t")]
    return rng.choice([*model.graph.initializer, *attributes])


def _dims(rng: random.Random, model: onnx.ModelProto) -> None:
    tensor = _tensor(rng, model)
    tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_NUMBERS)


def _rank(rng: random.Random, model: onnx.ModelProto) -> None:
    tensor = _tensor(rng, model)
    tensor.dims.extend(rng.choice(([1], [1, 1], [1] * 70, [0], [2])))


def _data(rng: random.Random, model: onnx.ModelProto) -> None:
    tensor = _tensor(rng, model)
    tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)] + rng.randbytes(rng.choice((0, 1, 4)))


def _values(rng: random.Random, model: onnx.ModelProto) -> None:
    """Numbers that decide shapes: the integers of Reshape, Pad, Slice and the like."""
    found = [t for t in (_tensor(rng, model) for _ in range(20)) if t.data_type == TensorProto.INT64 and t.dims]
    tensor = rng.choice([t for t in found if t.data_location != TensorProto.EXTERNAL])
    array = numpy_helper.to_array(tensor).copy().ravel()
    array[rng.randrange(array.size)] = rng.choice(_NUMBERS)
    tensor.CopyFrom(numpy_helper.from_array(array.reshape(tuple(tensor.dims)), tensor.name))


def _type(rng: random.Random, model: onnx.ModelProto) -> None:
    _tensor(rng, model).data_type = rng.choice([*_TYPES, 99, -1])


def _external(rng: random.Random, model: onnx.ModelProto) -> None:
    tensor = _tensor(rng, model)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    place = rng.choice(("../secret", "/etc/passwd", "w.bin", "model.onnx", "", "..\\x", "file:///etc/passwd"))
    for key, value in (("location", place), ("offset", str(rng.choice(_NUMBERS))), ("length", "16"))[
        : rng.choice((1, 3))
    ]:
        tensor.external_data.add(key=key, value=value)


def _value(rng: random.Random, model: onnx.ModelProto) -> onnx.ValueInfoProto:
    return rng.choice([*model.graph.input, *model.graph.output, *model.graph.value_info])


def _declared(rng: random.Random, model: onnx.ModelProto) -> None:
    shape = _value(rng, model).type.tensor_type.shape
    shape.dim[rng.randrange(len(shape.dim))].dim_value = rng.choice(_NUMBERS)


def _declared_type(rng: random.Random, model: onnx.ModelProto) -> None:
    _value(rng, model).type.tensor_type.elem_type = rng.choice([*_TYPES, 77])


def _declared_kind(rng: random.Random, model: onnx.ModelProto) -> None:
    value = _value(rng, model)
    if rng.random() < 0.5:
        value.type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    else:
        value.ClearField("type")


def _opset(rng: random.Random, model: onnx.ModelProto) -> None:
    rng.choice(model.opset_import).version = rng.choice((0, 1, 6, 7, 9, 13, 18, 26, 99, *_NUMBERS))


def _ir_version(rng: random.Random, model: onnx.ModelProto) -> None:
    model.ir_version = rng.choice((0, 1, 3, 4, 8, 13, 99, *_NUMBERS))


def _recursion(rng: random.Random, model: onnx.ModelProto) -> None:
    call = helper.make_node("Self", ["x"], ["y"], domain="own")
    model.functions.append(helper.make_function("own", "Self", ["x"], ["y"], [call], [helper.make_opsetid("own", 1)]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    node = _node(rng, model)
    node.op_type, node.domain = "Self", "own"


def _doubling(rng: random.Random, model: onnx.ModelProto) -> None:
    """Functions that call the one below twice: a small file and a great many nodes."""
    depth = rng.choice((3, 12, 30))
    for i in range(depth):
        inner = (f"F{i - 1}", "own") if i else ("Relu", "")
        calls = [
            helper.make_node(inner[0], ["x"], ["m"], domain=inner[1]),
            helper.make_node(inner[0], ["m"], ["y"], domain=inner[1]),
        ]
        imports = [helper.make_opsetid("own", 1), helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("own", f"F{i}", ["x"], ["y"], calls, imports))
    model.opset_import.append(helper.make_opsetid("own", 1))
    node = _node(rng, model)
    node.op_type, node.domain = f"F{depth - 1}", "own"
    del node.attribute[:], node.input[1:], node.output[1:]


def _nesting(rng: random.Random, model: onnx.ModelProto) -> None:
    graph = helper.make_graph([helper.make_node("Relu", [_name(rng, model)], ["inner"])], "leaf", [], [])
    graph.output.append(helper.make_tensor_value_info("inner", TensorProto.FLOAT, None))
    for _ in range(rng.choice((1, 5, 30))):
        node = helper.make_node("If", [_name(rng, model)], ["inner"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "level", [], [graph.output[0]])
        if graph.ByteSize() > 1 << 20:
            break
    model.graph.node.extend(graph.node)


_CHANGES: tuple[Callable[[random.Random, onnx.ModelProto], None], ...] = (
    _rewire,
    _reoutput,
    _circle,
    _operator,
    _operator,
    _domain,
    _attribute,
    _attribute,
    _attribute,
    _attribute_type,
    _attribute_length,
    _attribute_gone,
    _attribute_more,
    _node_gone,
    _node_twice,
    _initializer_gone,
    _dims,
    _rank,
    _data,
    _values,
    _values,
    _type,
    _external,
    _declared,
    _declared,
    _declared_type,
    _declared_kind,
    _opset,
    _ir_version,
    _recursion,
    _doubling,
    _nesting,
)
