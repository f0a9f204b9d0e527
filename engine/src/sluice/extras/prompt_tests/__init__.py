"""Tests of prompts: each prompt's cases, asked of the provider of its role."""
