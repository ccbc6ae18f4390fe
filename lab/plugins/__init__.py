"""Stand-ins for Pulumi's own plugins, used only on machines where the official ones cannot be had.

The engine finds a plugin as an executable on ``PATH``; :mod:`lab.plugins.install` writes those executables. The same
program runs unchanged with the official plugins.
"""
