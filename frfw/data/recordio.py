"""MXNet RecordIO training sets, read and written without MXNet."""

from __future__ import annotations

from frfw.data.record_writer import RecordWriter

__all__ = ["RecordWriter"]
