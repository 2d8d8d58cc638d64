"""Tokenizers of which every id is known by its bytes: tekken.json, tiktoken's files, llama.cpp's pieces."""
