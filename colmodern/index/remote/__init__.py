"""An index of another machine, over HTTP."""
