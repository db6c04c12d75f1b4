"""What both trainings run on: files, configs, run folders, signals, precision, launcher, command line."""
