"""From raw files to what training reads: audit, plan, splits, prepared cases."""
