//! One talker and one listener over a virtual line.
