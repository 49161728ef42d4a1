"""The MLflow room: the model registry, its runs, and its webhooks. Only here is `mlflow` imported, and only when used."""
