"""Which scan answers a question: of this model's very bytes, over what the data set holds now."""

from __future__ import annotations

from collections.abc import Callable

from unpool.exemplars.dataset import DataSet
from unpool.exemplars.index import ScanIndex, scans
from unpool.exemplars.store import Store
from unpool.graph.errors import InvalidArgumentError, PreconditionError
from unpool.repository import Entry


def find_scan(
    store: Store, entry: Entry, layer: str, dataset: str | None, opened: Callable[[str], DataSet]
) -> tuple[ScanIndex, DataSet]:
    """The complete scan of a layer, and the data set that it is of.

    Args:
        store: where indices lie.
        entry: the model.
        layer: tensor name.
        dataset: the data set's URI as it is opened; ``None`` is the only one that the model was scanned over.
        opened: opens a data set.

    Raises:
        InvalidArgumentError: no data set is named, and there are several.
        PreconditionError: there is no such scan: none, one of another version of the model (the message says which),
            one that is not complete, or one of other data under the same URI.
    """
    digest = entry.engine.model.digest
    known = [(about, complete) for about, complete in scans(store, digest) if layer in about.layers]
    if dataset is None:
        uris = sorted({about.dataset for about, _ in known})
        if len(uris) > 1:
            raise InvalidArgumentError("dataset", f"is needed: the model was scanned over {', '.join(uris[:5])}")
        dataset = uris[0] if uris else None
    found = [(about, complete) for about, complete in known if about.dataset == dataset]
    if dataset is None or not found:
        raise PreconditionError(_missing(store, entry, layer, dataset))
    data = opened(dataset)
    current = [(about, complete) for about, complete in found if about.fingerprint == data.fingerprint]
    if not current:
        raise PreconditionError(f"the data set '{dataset}' has changed since it was scanned; scan it again")
    done = [about for about, complete in current if complete]
    if not done:
        raise PreconditionError(f"the scan of '{dataset}' has not come to its end; scan it again, and it goes on")
    best = max(done, key=lambda about: (about.k, about.places, len(about.layers)))
    return ScanIndex(store, best), data


def _missing(store: Store, entry: Entry, layer: str, dataset: str | None) -> str:
    where = f"'{dataset}'" if dataset is not None else "any data set"
    others = [
        about
        for about, _ in scans(store)
        if about.model == entry.name and about.dataset == (dataset or about.dataset) and layer in about.layers
    ]
    if others:
        other, mine = others[0], entry.engine.model.digest
        return (
            f"the index over '{other.dataset}' was made by version {other.version} of model '{other.model}' (digest "
            f"{other.digest[:12]}), not by version {entry.version} (digest {mine[:12]}): scan again"
        )
    asked = f"layer '{layer}' of model '{entry.name}' version {entry.version}"
    return f"{asked} has not been scanned over {where}; scan first"
