"""Servers in processes of their own, chatlab's and its peers', and clients that time them."""
