"""Exported programs (`torch.export`, .pt2) as networks.

PyTorch's own loader unpickles, evaluates symbolic sizes and writes Python source of what such a file says. Here nothing
of that is used: the archive is read as a ZIP, the program as JSON, against lists of what it may say, and its steps are
computed one after another.
"""
