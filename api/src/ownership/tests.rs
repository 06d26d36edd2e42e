//! Ownership by tables: sets, differences, merges, and what writes do to the managers.

mod apply;
mod fields;
mod histories;
mod managers;
mod properties;
