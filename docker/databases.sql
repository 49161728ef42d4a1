-- Beside the database of MLflow's runs and models, which the image of PostgreSQL makes itself.
CREATE DATABASE mlflow_auth;
CREATE DATABASE promoter;
