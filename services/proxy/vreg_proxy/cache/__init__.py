"""Bytes kept once, fetched once, and read only by those whose own upstream granted it."""

from vreg_proxy.cache.cache import Cache
from vreg_proxy.cache.contents import CacheUnreadableError, Content, Contents, Position, Removed, Selection
from vreg_proxy.cache.download import Patience
from vreg_proxy.cache.hits import Hit
from vreg_proxy.cache.housekeeping import Rhythm
from vreg_proxy.cache.index import TagEntry
from vreg_proxy.cache.limits import Limits
from vreg_proxy.cache.opening import open_cache
from vreg_proxy.cache.origin import Kind, Origin, Right
from vreg_proxy.cache.reader import BlobReader
from vreg_proxy.cache.source import BlobSource
from vreg_proxy.cache.statistics import CacheStatistics, Fetched, Held, Served, TellsStatistics

__all__ = [
    "BlobReader",
    "BlobSource",
    "Cache",
    "CacheStatistics",
    "CacheUnreadableError",
    "Content",
    "Contents",
    "Fetched",
    "Held",
    "Hit",
    "Kind",
    "Limits",
    "Origin",
    "Patience",
    "Position",
    "Removed",
    "Rhythm",
    "Right",
    "Selection",
    "Served",
    "TagEntry",
    "TellsStatistics",
    "open_cache",
]
