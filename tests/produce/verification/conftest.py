"""The small data folder of the store's tests."""

from tests.store.conftest import folder, made

__all__ = ["folder", "made"]
