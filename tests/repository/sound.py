"""Sound models of every kind, small: what broken ones are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def seeds() -> list[onnx.ModelProto]:
    """The first operators of the light graphs over a small plane, and a few networks written here."""
    names = ("squeezenet", "shufflenet", "inception_v2", "densenet121", "resnet50")
    return [*(_beginning(onnx.load(_LIGHT / f"light_{name}.onnx")) for name in names), *_written()]


def _beginning(model: onnx.ModelProto, count: int = 14, plane: int = 32) -> onnx.ModelProto:
    constants = {n.output[0]: n for n in model.graph.node if n.op_type == "ConstantOfShape"}
    shapes = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type != "ConstantOfShape"][:count]
    made = {o for n in nodes for o in n.output}
    needed = {i for n in nodes for i in n.input if i and i not in made}
    rng = np.random.default_rng(5)
    weights = []
    for name in sorted(needed):
        if name in constants:
            shape = tuple(int(d) for d in shapes[constants[name].input[0]])
            weights.append(numpy_helper.from_array(rng.normal(0, 0.1, shape).astype(np.float32), name))
        elif name in shapes:
            weights.append(numpy_helper.from_array(shapes[name], name))
    (data,) = [v for v in model.graph.input if v.name in needed and v.name not in {w.name for w in weights}]
    graph = helper.make_graph(
        nodes,
        "beginning",
        [helper.make_tensor_value_info(data.name, TensorProto.FLOAT, ["batch", 3, plane, plane])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=8)


def _weighted(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with numbers for the constants that its text only declares."""
    rng = np.random.default_rng(6)
    given = {t.name for t in model.graph.initializer}
    for value in [v for v in model.graph.value_info if v.name not in given]:
        kind = value.type.tensor_type
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        array = np.abs(rng.normal(0, 1, [d.dim_value for d in kind.shape.dim])) * (20 if dtype.kind == "i" else 1)
        model.graph.initializer.append(numpy_helper.from_array(array.astype(dtype), value.name))
    del model.graph.value_info[:]
    return model


def _written() -> list[onnx.ModelProto]:
    return [
        _weighted(onnx.parser.parse_model(text))
        for text in (
            """<ir_version: 8, opset_import: ["" : 17]>
            shapes (float[N, 4, 8, 8] x) => (float[N, M] y) {
                s = Shape(x)
                zero = Constant<value = int64[1] {0}>()
                n = Gather<axis = 0>(s, zero)
                rest = Constant<value = int64[1] {-1}>()
                wanted = Concat<axis = 0>(n, rest)
                y = Reshape(x, wanted)
            }""",
            """<ir_version: 8, opset_import: ["" : 17]>
            branches (float[N, 3, 16, 16] x, bool c) => (float[N, 3, 16, 16] y) {
                y = If (c) <
                    then_branch = a () => (float[N, 3, 16, 16] p) { p = Relu(x) },
                    else_branch = b () => (float[N, 3, 16, 16] q) { q = Sigmoid(x) }
                >
            }""",
            """<ir_version: 8, opset_import: ["" : 17]>
            sequences (float[N, 4, 8, 8] x, int64 place) => (float[N, 4, M, 8] y, seq(float[N, 4, K, 8]) s) {
                k = Constant<value = int64 {3}>()
                p = Constant<value = int64 {-1}>()
                s = SplitToSequence<axis = 2>(x, k)
                a = SequenceAt(s, p)
                e = SequenceEmpty()
                t = SequenceInsert(e, a)
                b = SequenceAt(s, place)
                u = SequenceInsert(t, b)
                v = SequenceErase(u, p)
                y = ConcatFromSequence<axis = 2>(v)
            }""",
            """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
            functions (float[N, 3, 16, 16] x) => (float[N, 3, 8, 8] y) {
                a = own.Twice(x)
                b = own.Once(a)
                y, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(b)
            }
            <domain: "own", opset_import: ["" : 17]>
            Once (x) => (y) { y = LeakyRelu<alpha = 0.1>(x) }
            <domain: "own", opset_import: ["" : 17, "own" : 1]>
            Twice (x) => (y) {
                a = own.Once(x)
                y = own.Once(a)
            }""",
            """<ir_version: 8, opset_import: ["" : 17]>
            loop (float[2, 3] x, int64 n) => (float[2, 3] y) {
                go = Constant<value = bool {1}>()
                y = Loop (n, go, x) <
                    body = b (int64 i, bool c, float[2, 3] v) => (bool d, float[2, 3] w) {
                        d = Identity(c)
                        w = Add(v, v)
                    }
                >
            }""",
            """<ir_version: 8, opset_import: ["" : 17]>
            sizes (float[1, 2, 6, 6] x) => (float[1, 2, A, B] y) {
                amounts = Constant<value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}>()
                p = Pad<mode = "reflect">(x, amounts)
                none = Constant<value = float[0] {}>()
                scales = Constant<value = float[4] {1.0, 1.0, 2.0, 2.0}>()
                r = Resize<mode = "linear">(p, none, scales)
                shape = Constant<value = int64[4] {1, 2, 16, 16}>()
                ones = ConstantOfShape<value = float[1] {1}>(shape)
                y = Mul(r, ones)
            }""",
            """<ir_version: 8, opset_import: ["" : 17]>
            words (int64[N, T] x) => (float[N, T, 6] y) <float[5, 6] table, float[6, 6] q, float[6] g, float[6] b> {
                e = Gather<axis = 0>(table, x)
                n = LayerNormalization<axis = -1>(e, g, b)
                k = MatMul(n, q)
                t = Transpose<perm = [0, 2, 1]>(k)
                s = MatMul(k, t)
                a = Softmax<axis = -1>(s)
                v = MatMul(a, n)
                y = Add(v, e)
            }""",
            """<ir_version: 8, opset_import: ["" : 17]>
            spoken (float[T, N, 4] x) => (float[T, 1, N, 3] y) <float[1, 12, 4] w, float[1, 12, 3] r, float[1, 24] b> {
                y, h, c = LSTM<hidden_size = 3>(x, w, r, b)
            }""",
            """<ir_version: 8, opset_import: ["" : 17]>
            rounded (float[N, 2, 8, 8] x) => (float[N, 3, A, B] y)
            <float s = {0.05}, int8 z = {0}, int8[4, 2, 3, 3] w, float[4, 3, 2, 2] u, float[3] f> {
                q = QuantizeLinear(x, s, z)
                d = DequantizeLinear(q, s, z)
                k = DequantizeLinear(w, s, z)
                c = Conv<pads = [1, 1, 1, 1]>(d, k)
                m = LRN<size = 3>(c)
                a, b = Split<axis = 1>(m)
                l = LeakyRelu(a)
                j = Concat<axis = 1>(l, b)
                p = AveragePool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(j)
                o = ConvTranspose<kernel_shape = [2, 2], strides = [2, 2]>(p, u)
                i = InstanceNormalization(o, f, f)
                g = HardSigmoid(i)
                h = Mul(i, g)
                none = Constant<value = float[0] {}>()
                scales = Constant<value = float[4] {1.0, 1.0, 2.0, 2.0}>()
                y = Resize<mode = "nearest">(h, none, scales)
            }""",
            """<ir_version: 8, opset_import: ["" : 17]>
            last (float[N, 8, 8, 3] x) => (float[N, 5] y) <float[4, 3, 3, 3] w, float[4] b, float[4, 5] m> {
                t = Transpose<perm = [0, 3, 1, 2]>(x)
                c = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(t, w)
                n = BatchNormalization(c, b, b, b, b)
                r = Clip(n)
                g = GlobalAveragePool(r)
                f = Flatten(g)
                k = Gemm(f, m)
                y = Softmax<axis = 1>(k)
            }""",
        )
    ]
