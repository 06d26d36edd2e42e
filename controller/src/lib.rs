//! Skiff's controller.
