"""What torch stumbled over, told without its words: memory that there is not, or a node that it cannot run."""

from __future__ import annotations

import logging

import torch

from unpool.graph.errors import PreconditionError
from unpool.graph.model import Node

_log = logging.getLogger(__name__)
STUMBLES = (RuntimeError, ValueError, IndexError)
"""What torch raises where it cannot go on."""
_NO_MEMORY = ("can't allocate memory", "not enough memory")


def stumbled(node: Node, error: Exception, sentence: str) -> Exception:
    """What is raised in place of torch's own error, which the log has: nobody else can tell a mistake of ours by it.

    Args:
        node: the node that was run or crossed.
        error: what torch raised.
        sentence: what a reader is told where it was not for want of memory.
    """
    if isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return MemoryError(f"{node} wants more memory than there is")
    _log.warning("torch stumbled", extra={"node": str(node)}, exc_info=error)
    return PreconditionError(sentence, node=node.name)
