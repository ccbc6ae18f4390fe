"""The Flower federation: the app SuperNodes and the SuperLink run, and the command that submits it.

``client_app`` and ``server_app`` are the two halves that travel in Flower's app bundle; everything else is installed in
the image. Imports of torch and Flower stay inside the functions that need them: a probe runs every few seconds. Apps
are forked from a process that has imported everything (``federation.executor``).
"""
