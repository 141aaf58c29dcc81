"""Miniatures of the published layouts, one module per reader: seeded noise in the publisher's files and folders.

Each module has ``write(spec, place)``, which writes below ``place`` what its reader expects there.
"""
