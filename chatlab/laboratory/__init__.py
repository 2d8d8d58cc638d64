"""The laboratory: it proves a cause by an experiment and its null control.

Here lives what any study may share: the shape of an experiment, the run of it, experiments on a tokenizer's copy.
What is studied (echoes, conversations), and which causes there are, does not.
"""
