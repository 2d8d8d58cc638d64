"""Engines: token ids in, token events out, one interface for models here, elsewhere and scripted."""
