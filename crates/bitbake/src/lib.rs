//! BitBake recipes: parser, datastore, Python, task graph, signatures.
