"""The solutions of the exercises, generated from the notebooks' sources, for later cells and for teachers."""
