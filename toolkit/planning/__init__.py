"""What a run will take and how it will train, said before it starts. No file here imports torch at its top."""
