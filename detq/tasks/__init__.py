"""Work in other processes, here or on other machines: the same tasks, again if they are lost."""
