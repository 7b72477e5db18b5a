"""What makes data fit to be trusted and shared: identity removed, readers compared, labels agreed on."""
