"""The replicated state machine."""

from __future__ import annotations

from caremesh.ledger.application import Application, Context, Event, Params, Result

__all__ = ["Application", "Context", "Event", "Params", "Result"]
