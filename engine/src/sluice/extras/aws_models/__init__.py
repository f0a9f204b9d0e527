"""Chat models of AWS as kinds of provider."""
