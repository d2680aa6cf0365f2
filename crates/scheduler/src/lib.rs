//! Many actions: ready queue, critical path, resources; pure decisions.
