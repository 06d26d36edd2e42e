//! Skiff's apiserver.
