"""Editions of openapi.yaml as data files."""
