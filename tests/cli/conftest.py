"""The tests of this room keep a cache of their own."""

from tests.support.cache import chatlab_cache as chatlab_cache
