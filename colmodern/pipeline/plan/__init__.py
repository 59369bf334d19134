"""What an evaluation will take, said from a sample before anything is spent."""
