"""Numbers as Prometheus reads them, looked up when they are asked for: a page is made of rows, and forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class _Rows(Collector):
    def __init__(self, rows: Iterable[Metric]) -> None:
        self._rows = rows

    def collect(self) -> Iterable[Metric]:
        return self._rows


def page(rows: Iterable[Metric]) -> bytes:
    """The text of these rows."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Rows(list(rows)))
    return generate_latest(registry)


def one(name: str, says: str, value: float) -> Metric:
    """A number that goes up and down."""
    return GaugeMetricFamily(f"caremesh_{name}", says, value=float(value))


def counter(name: str, says: str, value: float) -> Metric:
    """A number that only goes up; its name gets ``_total``."""
    return CounterMetricFamily(f"caremesh_{name}", says, value=float(value))


def gauges(name: str, says: str, label: str, rows: Mapping[str, float]) -> Metric:
    """Numbers that go up and down, by a label."""
    made = GaugeMetricFamily(f"caremesh_{name}", says, labels=[label])
    for of, value in rows.items():
        made.add_metric([of], value)
    return made


def counters(name: str, says: str, label: str, rows: Mapping[str, float]) -> Metric:
    """Numbers that only go up, by a label."""
    made = CounterMetricFamily(f"caremesh_{name}", says, labels=[label])
    for of, value in sorted(rows.items()):
        made.add_metric([of], value)
    return made
