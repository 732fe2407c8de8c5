"""Bytes kept once, fetched once, and read only by those whose own upstream granted it."""

from vreg_proxy.cache.cache import Cache, open_cache
from vreg_proxy.cache.download import Patience
from vreg_proxy.cache.index import TagEntry
from vreg_proxy.cache.origin import Kind, Origin, Right
from vreg_proxy.cache.reader import BlobReader
from vreg_proxy.cache.source import BlobSource

__all__ = [
    "BlobReader",
    "BlobSource",
    "Cache",
    "Kind",
    "Origin",
    "Patience",
    "Right",
    "TagEntry",
    "open_cache",
]
