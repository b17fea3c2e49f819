//! Tests of the pure node.
