"""What each part of DINOv2 and DINOv3 does, measured: runs that differ in one thing, trained and looked at by one command.

`arms` says what is compared, `runs` trains it, `looks` measures it, `__main__` is the command and writes JSON and tables."""
