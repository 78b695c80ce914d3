"""Data folders made and checked: build, audit, verify."""
