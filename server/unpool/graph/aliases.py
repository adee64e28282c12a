"""Aliases: the short names of blocks (conv5_3), taken from the file's node names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from unpool.graph.model import Graph, Node
from unpool.graph.rectifiers import ACTIVATIONS

_HEADS = frozenset(
    ["Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "Add", "Sum", "ConvInteger", "QLinearConv", "DeformConv"]
)
_POOLS = frozenset(["MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool"])
_BEFORE_POOL = frozenset(["LRN", "Dropout", "Pad", "Identity"])
# Words that exporters add for the operator itself; they tell blocks apart in no model.
_OPERATOR_WORDS = frozenset(
    ["conv", "conv1d", "conv2d", "conv3d", "convolution", "convtranspose", "conv2dbackpropinput", "depthwise", "depthwiseconv2dnative", "matmul", "gemm", "biasadd", "add", "addv2", "relu", "relu6", "clip", "batchnormalization", "batchnorm", "fusedbatchnorm", "fusedbatchnormv2", "fusedbatchnormv3", "maxpool", "avgpool", "averagepool", "op", "node", "fwd", "output", "readvariableop"]
)


@dataclass(frozen=True)
class Aliases:
    """Short names of a graph's blocks.

    Attributes:
        names: alias, or alias with ``:pre`` or ``:pool`` -> tensor name.
        of: tensor name -> the alias to show for it.
    """

    names: Mapping[str, str]
    of: Mapping[str, str]


@dataclass(frozen=True)
class _Block:
    """A linear node and what follows it up to its activation."""

    members: tuple[Node, ...]
    result: str
    before: str | None
    pooled: str | None


def find_aliases(graph: Graph) -> Aliases:
    """Names every block after its nodes.

    A block is a convolution, a matrix product, a batch norm or a sum with the bias, batch norm and activation that alone follow it; every
    other node is a block of its own. The name is the shortest end of the node's name that no other block has, without the words that
    exporters add for the operator. A name that a tensor or a node already has is not given again.
    """
    blocks = _blocks(graph)
    parts = [[_parts(node) for node in block.members] for block in blocks]
    holders: Counter[str] = Counter()
    for block in parts:
        holders.update({end for member in block for end in _ends(member)})
    taken = set(graph.values) | set(graph.constants) | {node.name for node in graph.nodes}
    names: dict[str, str] = {}
    of: dict[str, str] = {}
    for block, members in zip(blocks, parts, strict=True):
        for member in members:
            alias = next((end for end in _ends(member) if holders[end] == 1), None)
            if alias is None or alias in names:
                continue
            if block.before is not None:
                names.setdefault(f"{alias}:pre", block.before)
            if block.pooled is not None:
                names.setdefault(f"{alias}:pool", block.pooled)
            if alias not in taken:
                names[alias] = block.result
                of.setdefault(block.result, alias)
    return Aliases(names, of)


def _parts(node: Node) -> list[str]:
    found = [part for part in re.split(r"[/]", node.name) if part]
    # torch writes node_conv2d_3, MXNet conv0_fwd: markers of the exporter.
    found = [re.sub(r"_fwd$", "", re.sub(r"^node_", "", part)) or part for part in found]
    while len(found) > 1 and _says_operator(found[-1]):
        found.pop()
    return found


def _says_operator(part: str) -> bool:
    return re.sub(r"[_\d.:@]*$", "", part.lower()) in _OPERATOR_WORDS or part.lower() in _OPERATOR_WORDS


def _ends(parts: list[str]) -> list[str]:
    """Ends of a name, shortest first."""
    return ["/".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]


def _blocks(graph: Graph) -> list[_Block]:
    seen: set[Node] = set()
    found: list[_Block] = []
    for node in graph.nodes:
        if node in seen or not node.outputs or not node.outputs[0]:
            continue
        members = [node]
        result, before = node.outputs[0], None
        while node.op_type in _HEADS and before is None:
            following = _only_consumer(graph, result)
            if following is None or not following.outputs:
                break
            if following.op_type in ACTIVATIONS and following.inputs[0] == result and not following.gate:
                before = result
            elif not _is_affine(graph, following):
                break
            members.append(following)
            result = following.outputs[0]
        seen.update(members)
        found.append(_Block(tuple(members), result, before, _pooled(graph, result)))
    return found


def _only_consumer(graph: Graph, name: str) -> Node | None:
    consumers = graph.consumers.get(name, ())
    return consumers[0] if len(consumers) == 1 and name not in graph.outputs else None


def _is_affine(graph: Graph, node: Node) -> bool:
    if node.op_type == "BatchNormalization":
        return True
    return node.op_type in ("Add", "Mul", "Sub", "Div") and sum(i in graph.constants for i in node.inputs) == 1


def _pooled(graph: Graph, name: str) -> str | None:
    while True:
        consumers = graph.consumers.get(name, ())
        pools = [node for node in consumers if node.op_type in _POOLS]
        if len(pools) == 1:
            return pools[0].outputs[0]
        following = consumers[0] if len(consumers) == 1 else None
        if following is None or following.op_type not in _BEFORE_POOL:
            return None
        name = following.outputs[0]
