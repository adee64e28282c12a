"""What there is to look at: models, versions and layers, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

PolicyName: TypeAlias = Literal["deconvnet", "guided", "gradient"]
"""How a signal is carried down: Zeiler and Fergus 2013; Springenberg et al. 2014; the gradient of the unit."""

POLICIES: tuple[PolicyName, ...] = ("deconvnet", "guided", "gradient")


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model in a listing.

    Attributes:
        version: a positive integer.
        state: ``unavailable``, ``available`` (loaded on first use) or ``loaded``.
        reason: why it is unavailable; empty in the other states.
    """

    version: int
    state: str
    reason: str


@dataclass(frozen=True)
class ModelSummary:
    """One model in a listing.

    Attributes:
        name: its name in the repository.
        versions: ascending; several are a model series.
        reason: why the model has no version that could be listed; empty otherwise.
    """

    name: str
    versions: tuple[ModelVersion, ...]
    reason: str

    @property
    def state(self) -> str:
        """The best state among the versions: ``loaded``, ``available`` or ``unavailable``."""
        states = {version.state for version in self.versions}
        return next((state for state in ("loaded", "available") if state in states), "unavailable")


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor.

    Attributes:
        role: ``batch``, ``channel``, ``spatial`` or ``other``.
        size: its extent in elements, or the name of an extent that the input decides (may be empty).
        spatial_index: which spatial axis, from 0, in the picture's own order; 0 for the other roles.
    """

    role: str
    size: int | str
    spatial_index: int


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a model without its values: its name in the file, element type in NumPy's words, and axes."""

    name: str
    dtype: str
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int | str, ...]:
        """Extent of each axis in the file's own order."""
        return tuple(axis.size for axis in self.axes)


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become the model's input.

    Attributes:
        described: ``False`` when the server assumed the default (bilinear scaling, RGB, 0 to 1).
        steps: the steps in order, in words.
        channel_order: ``rgb``, ``bgr``, ``gray``, or empty.
    """

    described: bool
    steps: tuple[str, ...]
    channel_order: str


@dataclass(frozen=True)
class Parity:
    """PyTorch, which projections are made with, beside ONNX Runtime on random input.

    Attributes:
        state: ``holds``, ``differs``, ``unknown`` (the reason says why), ``pending`` (being found out), or empty where
            the server does not compare.
        output: the output that agreed least; empty unless some were compared.
        difference: there, over the output's largest magnitude; for whole numbers the share that differ.
        tolerance: what the difference may be.
        borrowed_nodes: nodes without a forward in PyTorch, whose values came from ONNX Runtime.
        reason: why nothing was compared.
        inside: how that output is computed inside, in words: in half precision, or quantised; empty in float32.
    """

    state: str
    output: str
    difference: float
    tolerance: float
    borrowed_nodes: tuple[str, ...]
    reason: str
    inside: str = ""


@dataclass(frozen=True)
class Model:
    """A loaded version of a model.

    Attributes:
        name, version: which one.
        digest: SHA-256 of the file, hexadecimal.
        inputs, outputs: in the file's order.
        picture_input: name of the input that takes pictures; empty when none does.
        preprocessing: how pictures become that input; ``None`` when the model takes none.
        operator_sets: (domain, version) pairs that the file imports; the domain of ONNX's own operators is empty.
        operators: (domain, type, number of nodes) of the normalised graph, most frequent first.
        batch: ``symbolic`` (any number of examples at once) or ``one``.
        providers: execution providers of the forward run, first choice first, in ONNX Runtime's words.
        device: device of the backward run, ``cpu`` or ``cuda:N``.
        label_count: how many class labels the model has; 0 when none.
        policies: those that can be followed with it.
        layer_count: how many layers ``layers`` gives.
        parameter_count: trained values in the file.
        producer: the program that wrote the file.
        warnings: what a user should know, in sentences.
        parity: whether PyTorch computes what ONNX Runtime does.
    """

    name: str
    version: int
    digest: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    picture_input: str
    preprocessing: Preprocessing | None
    operator_sets: tuple[tuple[str, int], ...]
    operators: tuple[tuple[str, str, int], ...]
    batch: str
    providers: tuple[str, ...]
    device: str
    label_count: int
    policies: tuple[str, ...]
    layer_count: int
    parameter_count: int
    producer: str
    warnings: tuple[str, ...]
    parity: Parity


@dataclass(frozen=True)
class Field:
    """What a unit sees along one spatial axis of the input.

    Attributes:
        size: extent of the field in elements of the input, borders not clipped.
        stride: distance between the fields of neighbouring units, in elements.
        offset: first coordinate that the unit at position 0 sees; negative by padding.
        whole: every unit sees the whole axis; the other values are then 0.
    """

    size: int
    stride: float
    offset: float
    whole: bool


@dataclass(frozen=True)
class Layer:
    """A tensor with a channel axis, whose units can be projected.

    Attributes:
        name: the file's own tensor name.
        alias: its short name, such as ``conv5_3``; empty when it has none.
        more_aliases: further short names.
        node, op: name and type of the node that makes it.
        dtype: element type in NumPy's words.
        axes: in the file's own order.
        channels: number of channels (classes, for an output); ``None`` when the input decides it.
        receptive_field: one for each spatial axis of the input; empty when the input does not reach the layer.
        is_output: whether it is an output of the model.
        switches: max pools that a projection crosses on its way to the input.
    """

    name: str
    alias: str
    more_aliases: tuple[str, ...]
    node: str
    op: str
    dtype: str
    axes: tuple[Axis, ...]
    channels: int | None
    receptive_field: tuple[Field, ...]
    is_output: bool
    switches: int

    @property
    def shape(self) -> tuple[int | str, ...]:
        """Extent of each axis in the file's own order; a name where the input decides it."""
        return tuple(axis.size for axis in self.axes)

    @property
    def label(self) -> str:
        """The alias, or the name where there is none."""
        return self.alias or self.name
