"""GGUF files: what they say of their vocabulary, what chatlab makes of it, and llama.cpp's own reading."""
