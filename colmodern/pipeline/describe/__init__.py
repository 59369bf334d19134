"""What ``colmodern info`` says of files, folders and names."""
