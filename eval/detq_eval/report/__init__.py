"""The page that shows a run: read from its folder, written as one file."""
