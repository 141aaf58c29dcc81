"""Model families, one module each: the only room that knows architectures."""

from __future__ import annotations

from ibench.encoders.base import Card, Encoder
from ibench.encoders.checkpoint import Checkpoint, open_checkpoint
from ibench.encoders.functions import from_functions

__all__ = ["Card", "Checkpoint", "Encoder", "from_functions", "open_checkpoint"]
