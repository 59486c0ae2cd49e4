"""A finished run in MLflow (and W&B where configured), and the candidate in the registry when the gate lets it."""
