"""Aliases: the short names of blocks (conv5_3), taken from the file's node names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from unpool.graph.model import Graph, Node
from unpool.graph.rectifiers import ACTIVATIONS

_HEADS = frozenset(
    [
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "BatchNormalization",
        "GroupNormalization",
        "LayerNormalization",
        "RMSNormalization",
        "Add",
        "Sum",
        "Mul",
        "ConvInteger",
        "QLinearConv",
        "DeformConv",
    ]
)
_POOLS = frozenset(["MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool"])
_BEFORE_POOL = frozenset(["LRN", "Dropout", "Pad", "Identity"])
# Words that exporters add for the operator itself; they tell blocks apart in no model.
_WORDS = (
    "conv convolution convtranspose deconv backpropinput depthwise depthwiseconv separableconv matmul gemm"
    " biasadd add sum mul relu relu6 clip leakyrelu batchnormalization batchnorm fusedbatchnorm maxpool avgpool"
    " averagepool pool globalaveragepool softmax sigmoid op output readvariableop"
)
_OPERATOR_WORDS = frozenset(_WORDS.split())
_DECORATION = re.compile(r"(native|[1-3]d|v\d+|[_.:@]?\d+|_)$")


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

    A block is a convolution, a matrix product, a norm or a sum with the bias, batch norm and activation that
    alone follow it; every other node is a block of its own. The name is the shortest end of the node's name that no
    other block has, without the words that exporters add for the operator. A name that a tensor or a node already has
    is not given again.
    """
    blocks = _blocks(graph)
    paths = {node: _path(node) for block in blocks for node in block.members}
    scopes = {node: _scope(node, path) for node, path in paths.items()}
    shared_scopes, shared_paths = _holders(scopes.values()), _holders(paths.values())
    taken = set(graph.values) | set(graph.constants) | {node.name for node in graph.nodes}
    names: dict[str, str] = {}
    of: dict[str, str] = {}
    # Heads name their blocks first; what follows a head only adds names that are still free.
    named = [(block, block.members[0]) for block in blocks if block.members[0].op_type in _HEADS]
    headed = {node for _, node in named}
    named += [(block, node) for block in blocks for node in block.members if node not in headed]
    for block, node in named:
        wanted = [end for end in _ends(scopes[node]) if shared_scopes[end] == 1][:1]
        wanted += [end for end in _ends(paths[node])[1:] if shared_paths[end] == 1]
        alias = next((end for end in wanted if names.get(end, block.result) == block.result), None)
        if alias is None:
            continue
        if block.before is not None:
            names.setdefault(f"{alias}:pre", block.before)
        if block.pooled is not None:
            names.setdefault(f"{alias}:pool", block.pooled)
        if alias not in taken:
            names[alias] = block.result
            of.setdefault(block.result, alias)
    return Aliases(names, of)


def _path(node: Node) -> tuple[str, ...]:
    # torch writes node_conv2d_3, MXNet conv0_fwd: markers of the exporter.
    parts = [re.sub(r"_fwd$", "", re.sub(r"^node_", "", part)) or part for part in node.name.split("/") if part]
    return tuple(parts) or (node.name,)


def _scope(node: Node, path: tuple[str, ...]) -> tuple[str, ...]:
    """The path without a word at its end that only says which operator it is."""
    return path[:-1] if len(path) > 1 and _says_operator(path[-1], node.op_type) else path


def _says_operator(part: str, op_type: str) -> bool:
    word = part.lower()
    while True:
        if word.replace("_", "") in _OPERATOR_WORDS or word == op_type.lower():
            return True
        bare = _DECORATION.sub("", word)
        if bare == word:
            return False
        word = bare


def _ends(path: tuple[str, ...]) -> list[str]:
    """Ends of a name, shortest first."""
    return ["/".join(path[i:]) for i in range(len(path) - 1, -1, -1)]


def _holders(paths: Iterable[tuple[str, ...]]) -> Counter[str]:
    """How many different paths have each end."""
    return Counter(end for path in set(paths) for end in _ends(path))


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
