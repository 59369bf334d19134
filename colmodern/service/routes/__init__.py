"""The paths of the service: each file has one ``router``, which ``service/assembly.py`` includes."""
