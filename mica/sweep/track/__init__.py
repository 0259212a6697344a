"""The track: records shown in MLflow."""
