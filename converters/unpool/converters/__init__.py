"""Frameworks to ONNX: networks become entries of a model repository, checked against the framework they came from.

`convert` exports a PyTorch module or exported program and refuses an export that differs; `take` puts a third party's
ONNX file in as it is; `convert_series` makes versions of a training's checkpoints; `fully_convolutional` lets a
classifier take pictures of any size. `unpool.converters.recipes` knows some real models. Nothing here needs the server.
"""

from unpool.converters.convert import Progress, Report, Stage, convert, take
from unpool.converters.entry import Entry
from unpool.converters.errors import ConversionError, ParityError
from unpool.converters.export import Exporter
from unpool.converters.fully_convolutional import fully_convolutional
from unpool.converters.parity import OutputParity
from unpool.converters.preprocessing import ChannelOrder, Preprocessing, Resample
from unpool.converters.series import checkpoints, convert_series

__all__ = [
    "convert",
    "take",
    "convert_series",
    "fully_convolutional",
    "checkpoints",
    "Entry",
    "Preprocessing",
    "ChannelOrder",
    "Resample",
    "Exporter",
    "Report",
    "OutputParity",
    "Progress",
    "Stage",
    "ConversionError",
    "ParityError",
]
