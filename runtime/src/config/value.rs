//! Readings of values that several kinds of configuration have; the error says what is allowed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// A path.
///
/// # Errors
/// What is allowed.
pub fn path(value: &Value) -> Result<PathBuf, &'static str> {
    value.as_str().map(PathBuf::from).ok_or("a path")
}

/// Text.
///
/// # Errors
/// What is allowed.
pub fn text(value: &Value) -> Result<String, &'static str> {
    value.as_str().map(str::to_owned).ok_or("text")
}

/// True or false.
///
/// # Errors
/// What is allowed.
pub fn boolean(value: &Value) -> Result<bool, &'static str> {
    value.as_bool().ok_or("true or false")
}

/// A port; 0 means that there is none.
///
/// # Errors
/// What is allowed.
pub fn port(value: &Value) -> Result<u16, &'static str> {
    let expected = "a port, 0 to 65535";
    value.as_u64().ok_or(expected)?.try_into().map_err(|_| expected)
}

/// An address.
///
/// # Errors
/// What is allowed.
pub fn ip(value: &Value) -> Result<IpAddr, &'static str> {
    let expected = "an IP address";
    value.as_str().ok_or(expected)?.parse().map_err(|_| expected)
}

/// A duration as Go writes it. `None` for zero, which means in upstream's files that nothing is said.
///
/// # Errors
/// What is allowed.
pub fn duration(value: &Value) -> Result<Option<Duration>, &'static str> {
    let expected = "a duration such as 10s or 1m30s";
    let read = value.as_str().and_then(skiff_api::duration::parse).ok_or(expected)?;
    Ok((!read.is_zero()).then_some(read))
}
