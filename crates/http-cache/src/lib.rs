//! The HTTP cache protocols of other build tools.
