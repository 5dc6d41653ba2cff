"""The checks of the exercises: module `nNN` for notebook NN, one `Exercise` a name, called with the learner's function."""
