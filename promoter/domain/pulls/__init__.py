"""The plan of a pull request: pure, from two declarations and a survey to words and a verdict."""
