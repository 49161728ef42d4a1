# MLflow's own image, and the PostgreSQL driver that it lacks.
ARG MLFLOW=ghcr.io/mlflow/mlflow:v3.17.2
FROM ${MLFLOW}
COPY requirements/mlflow.lock /tmp/mlflow.lock
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore \
      --require-hashes --requirement /tmp/mlflow.lock \
 && rm /tmp/mlflow.lock
