"""A made-up detection task: drawn objects on textured grounds, the same on every machine."""
