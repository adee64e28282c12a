"""Models on disk: versions, labels, preprocessing, admission; loaded on first use, lent, evicted to make room."""

from unpool.repository.admission import Examination, Examiner, Limits, OutputParity, Parity, Verdict
from unpool.repository.decoding import decode
from unpool.repository.entry import Entry
from unpool.repository.placement import Placement
from unpool.repository.preprocessing import Prepared, Preprocessing
from unpool.repository.recipe import ChannelOrder
from unpool.repository.repository import ModelListing, Repository, RepositorySettings, State, VersionListing

__all__ = [
    "ChannelOrder",
    "Entry",
    "Examination",
    "Examiner",
    "Limits",
    "ModelListing",
    "OutputParity",
    "Parity",
    "Placement",
    "Prepared",
    "Preprocessing",
    "Repository",
    "RepositorySettings",
    "State",
    "Verdict",
    "VersionListing",
    "decode",
]
