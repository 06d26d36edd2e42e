//! Skiff's runtime.
