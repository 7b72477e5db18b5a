"""Tables that set runs side by side."""
