"""The course: one question a notebook.  `NN_name.py` are the sources; `python -m notebooks build` writes the .ipynb."""
