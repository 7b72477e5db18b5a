"""Cross-validation: every fold trained and tested once, and what each predicted unseen gathered."""
