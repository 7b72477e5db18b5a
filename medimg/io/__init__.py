"""The only room that opens and writes medical image files."""
