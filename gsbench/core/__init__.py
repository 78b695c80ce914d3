"""Types, conventions and contracts that everything else shares: geometry, tasks, recipes, results, files, metrics."""
