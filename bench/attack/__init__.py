"""Attacks: what one project's largest requests do to another project's requests."""
