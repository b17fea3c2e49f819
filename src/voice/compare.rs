//! What came out beside what went in.
