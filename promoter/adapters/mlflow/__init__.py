"""MLflow: the model registry, its runs, artifacts and webhooks. Only here is `mlflow` imported, and only when it is used."""
