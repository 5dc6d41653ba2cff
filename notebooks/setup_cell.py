"""The second cell of every notebook.  It does nothing where the course is installed or the notebook lies in its folder."""
# Set-up: does nothing where the course is installed; on Colab, it fetches and installs it.
REPOSITORY = ""  # on Colab: the address of the repository, as your teacher gave it
try:
    from notebooks.course import hint
except ModuleNotFoundError:
    import pathlib, subprocess, sys

    here = pathlib.Path.cwd()
    places = [here, *here.parents, here / "dino-lab"]
    root = next((place for place in places if (place / "notebooks/course.py").is_file()), places[-1])
    if not root.exists():
        assert REPOSITORY, "Write the address of the repository between the quotes above, and run this cell again."
        subprocess.run(["git", "clone", "--depth", "1", REPOSITORY, str(root)], check=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", f"{root}[lab]"], check=True)
    sys.path.insert(0, str(root))
    from notebooks.course import hint
