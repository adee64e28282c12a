"""Models on disk: versions, labels, preprocessing; loaded on first use, lent, evicted when room is needed."""

from unpool.repository.decoding import decode
from unpool.repository.entry import Entry
from unpool.repository.placement import Placement
from unpool.repository.preprocessing import Prepared, Preprocessing
from unpool.repository.recipe import ChannelOrder
from unpool.repository.repository import ModelListing, Repository, RepositorySettings, State, VersionListing

__all__ = [
    "ChannelOrder",
    "Entry",
    "ModelListing",
    "Placement",
    "Prepared",
    "Preprocessing",
    "Repository",
    "RepositorySettings",
    "State",
    "VersionListing",
    "decode",
]
