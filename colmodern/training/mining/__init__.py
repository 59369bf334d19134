"""Hard negatives from a collection, with the scores of a teacher."""
