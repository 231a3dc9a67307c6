"""The composition root: settings to a running node; the only place that knows concrete adapters."""
