//! The long-running process: REST, events, metrics on one port.
