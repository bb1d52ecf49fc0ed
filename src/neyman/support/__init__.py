"""What every chapter leans on: messages and checks of arguments, archives and checkpoints, tasks on executors, text."""
