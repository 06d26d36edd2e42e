//! To come: leader.
