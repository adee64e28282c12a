"""Layers: the tensors one can ask about, under names that people know them by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from unpool.graph.aliases import Aliases, find_aliases
from unpool.graph.errors import NotFoundError
from unpool.graph.model import Axis, Dim, Graph, Node
from unpool.graph.rectifiers import bounded_source

_FLOATS = frozenset({"float16", "float32", "float64", "bfloat16"})


@dataclass(frozen=True)
class Layer:
    """A tensor with a channel axis, or an output.

    Attributes:
        name: the file's own tensor name.
        alias: the short name, empty where there is none; it means the tensor behind a block's batch norm and rectifier.
        node: name of the node that makes it.
        op_type: that node's ONNX operator type.
        shape: extents, or ``None`` when the rank is unknown.
        axes: one label per axis.
        channels: extent of the channel axis; ``None`` when there is none or it is not known.
        is_output: the tensor is an output of the model.
        suffixes: which of ``:pre`` and ``:pool`` may follow the alias.
        rank_name: the tensor whose value ranks units: what goes into a bounded rectifier where the layer is what
            comes out, else ``name``.
    """

    name: str
    alias: str
    node: str
    op_type: str
    shape: tuple[Dim, ...] | None
    axes: tuple[Axis, ...]
    channels: int | None
    is_output: bool
    suffixes: tuple[str, ...]
    rank_name: str


class Layers(Sequence[Layer]):
    """The layers of a model in topological order, and the names they answer to."""

    def __init__(self, graph: Graph) -> None:
        aliases = find_aliases(graph)
        self._layers = tuple(
            _layer(graph, node, name, aliases)
            for node in graph.nodes
            for name in node.outputs
            if _is_layer(graph, name)
        )
        self._names = {layer.name: layer for layer in self._layers}
        self._nodes: dict[str, Layer] = {}
        for layer in self._layers:
            self._nodes.setdefault(layer.node, layer)
        self._aliases = {alias: self._names[name] for alias, name in aliases.names.items() if name in self._names}

    def find(self, name: str) -> Layer:
        """The layer that ``name`` means: tensor name, node name, alias (with ``:pre`` or ``:pool``), in this order.

        Raises:
            NotFoundError: no layer answers to the name; the message gives the nearest ones that exist.
        """
        for names in (self._names, self._nodes, self._aliases):
            if name in names:
                return names[name]
        raise NotFoundError("layer", name, dict.fromkeys([*self._aliases, *self._names, *self._nodes]))

    @overload
    def __getitem__(self, index: int) -> Layer: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Layer]: ...

    def __getitem__(self, index: int | slice) -> Layer | Sequence[Layer]:
        return self._layers[index]

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)


def _is_layer(graph: Graph, name: str) -> bool:
    if name in graph.outputs:
        return True
    value = graph.values.get(name)
    return value is not None and value.channel_axis is not None and (not value.dtype or value.dtype in _FLOATS)


def _layer(graph: Graph, node: Node, name: str, aliases: Aliases) -> Layer:
    value = graph.values[name]
    extent = value.shape[value.channel_axis] if value.shape is not None and value.channel_axis is not None else None
    alias = aliases.of.get(name, "")
    return Layer(
        name=name,
        alias=alias,
        node=node.name,
        op_type=node.op_type,
        shape=value.shape,
        axes=value.axes,
        channels=extent if isinstance(extent, int) else None,
        is_output=name in graph.outputs,
        suffixes=tuple(s for s in (":pre", ":pool") if alias and alias + s in aliases.names),
        rank_name=bounded_source(graph, node) or name,
    )
