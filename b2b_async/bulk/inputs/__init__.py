"""The inputs of jobs: files, and the store itself."""
