"""Infrastructure of both trainings: files, configs, run folders, signals, precision, launcher, command line."""
