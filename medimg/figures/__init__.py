"""Pictures of cases and results."""
