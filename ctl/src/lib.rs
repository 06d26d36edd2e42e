//! Skiff's ctl.
