"""The strongest images of every feature over a data set: scan, index, and what is read from it.

A data set is opened by URI below the roots that a server was given (``opening``, ``roots``), threads make its records
ready ahead of the network (``examples``), channel maxima are reduced inside the graph (``reduction``), shards give
summaries that merge in any order (``scan``, ``partial``, ``sketch``), a second run finds the survivors' positions
(``locating``), and Parquet keeps it all (``index``, ``store``).
"""

from unpool.exemplars.dataset import DataSet, Record, Shard, shards
from unpool.exemplars.examples import Skipped
from unpool.exemplars.index import Description, ScanIndex, scans
from unpool.exemplars.opening import open_dataset
from unpool.exemplars.results import ChannelStatistics, Exemplar
from unpool.exemplars.roots import Roots
from unpool.exemplars.scan import ScanDone, ScanHeader, Scanner, ScanProgress, ScanRequest, scan
from unpool.exemplars.standing import standing
from unpool.exemplars.store import Store, default_index

__all__ = [
    "ChannelStatistics",
    "DataSet",
    "Description",
    "Exemplar",
    "Record",
    "Roots",
    "ScanDone",
    "ScanHeader",
    "ScanIndex",
    "ScanProgress",
    "ScanRequest",
    "Scanner",
    "Shard",
    "Skipped",
    "Store",
    "default_index",
    "open_dataset",
    "scan",
    "scans",
    "shards",
    "standing",
]
