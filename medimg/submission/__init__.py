"""Predictions to a competition's file, checked before it is written."""
