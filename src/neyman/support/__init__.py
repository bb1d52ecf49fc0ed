"""What every chapter leans on: files written whole, tasks on executors."""
