"""Runs as tables, figures and pages."""
