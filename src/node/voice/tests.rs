//! Voice over whole networks.
