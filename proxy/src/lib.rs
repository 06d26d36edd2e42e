//! Skiff's proxy.
