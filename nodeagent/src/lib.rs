//! Skiff's nodeagent.
