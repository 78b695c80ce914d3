"""The published tables and figures, made again."""
