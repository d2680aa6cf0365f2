//! Content-addressable storage and action cache.
