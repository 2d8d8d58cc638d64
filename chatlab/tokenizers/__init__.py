"""Where tokenizers come from, and the one small interface everything else uses."""
