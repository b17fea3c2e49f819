//! The small words that all components share: numbers, moments, chance, reasons, rows.
//!
//! It depends on nothing of this program.

pub mod chance;
mod counters;
pub mod form;
mod ids;
pub mod json;
mod moment;
mod node_id;
mod rate;
mod reason;
mod rows;

pub use chance::{Chance, Roots};
pub use counters::Counters;
pub use ids::{ClientId, DialId, JobId, LinkId, LogLevel};
pub use moment::{Now, Stamps, millis, rfc3339};
pub use node_id::{AsNodeId, NodeId, NodeIdRef};
pub use rate::{BURST, Bucket, Rate};
pub use reason::{Direction, DropCause, LinkCode, OpenError};
pub use rows::{State, Table};
