# MLflow's own image, and what it lacks: the driver of PostgreSQL, the client of S3, and a package of its sign-in (basic-auth).
ARG MLFLOW=ghcr.io/mlflow/mlflow:v3.17.2
FROM ${MLFLOW}
COPY requirements/mlflow.lock /tmp/mlflow.lock
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore \
      --require-hashes --requirement /tmp/mlflow.lock \
 && rm /tmp/mlflow.lock
