"""A network written in onnxscript; its annotations are read by onnxscript, so that they are no strings here."""

from onnxscript import FLOAT, script
from onnxscript import opset18 as op

BATCH = "N"


@script()
def normed(x: FLOAT[...], gain: FLOAT[...]) -> FLOAT[...]:
    """A function of the model: x over the root of its mean square along the channels."""
    square = op.ReduceMean(x * x, op.Constant(value_ints=[1]), keepdims=1)
    return x / op.Sqrt(square + 0.001) * gain


@script()
def scripted(
    image: FLOAT[BATCH, 3, 20, 24],
    first: FLOAT[6, 3, 5, 5],
    second: FLOAT[9, 6, 3, 3],
    gain: FLOAT[1, 6, 1, 1],
    head: FLOAT[9, 4],
) -> FLOAT[BATCH, 4]:
    """Calls a function of its own; its weights are inputs, to which a file may give defaults."""
    h = op.Relu(op.Conv(image, first, pads=[2, 2, 2, 2], strides=[2, 2]))
    h = normed(h, gain)
    h = op.MaxPool(h, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0])
    h = op.Elu(op.Conv(h, second, auto_pad="SAME_UPPER"))
    h = op.Squeeze(op.GlobalAveragePool(h), op.Constant(value_ints=[2, 3]))
    return op.MatMul(h, head)
