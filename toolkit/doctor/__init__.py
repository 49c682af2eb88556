"""Can this machine run this recipe? Facts are gathered, a matrix of versions is consulted, findings come out."""
