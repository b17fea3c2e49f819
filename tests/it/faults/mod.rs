//! What must not hurt: crashes and disks that are full.

mod crash;
mod disk_full;
