//! To come: health.
