"""What each parameter is called, here and elsewhere."""

from .rows import Row, rows
from .tables import Ignored, Naming, Operation, Source, ema_name, ignored, table

__all__ = ["Ignored", "Naming", "Operation", "Row", "Source", "ema_name", "ignored", "rows", "table"]
