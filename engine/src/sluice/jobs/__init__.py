"""What a command does from beginning to end: a release, its steps, a comparison, DVC's stages."""
