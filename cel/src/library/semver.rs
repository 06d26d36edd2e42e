//! Versions as semver.org has them.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::{Call, Library, Native, Result};
use crate::error::EvaluationError;
use crate::value::Value;

/// A version.
#[derive(Debug, Clone)]
pub struct Semver {
    parts: [u64; 3],
    pre: Vec<String>,
    build: Vec<String>,
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.parts;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build.join("."))?;
        }
        Ok(())
    }
}

impl Semver {
    /// Reads a version.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".into());
        }
        let mut parts = text.splitn(3, '.');
        let (Some(major), Some(minor), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("No Major.Minor.Patch elements found".into());
        };
        let (rest, build) = match rest.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (rest, None),
        };
        let (patch, pre) = match rest.split_once('-') {
            Some((patch, pre)) => (patch, Some(pre)),
            None => (rest, None),
        };
        let number = |name: &str, digits: &str| {
            if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
                return Err(format!("Invalid character(s) found in {name} number {digits:?}"));
            }
            if digits.len() > 1 && digits.starts_with('0') {
                let name = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
                return Err(format!("{name} number must not contain leading zeroes {digits:?}"));
            }
            digits
                .parse::<u64>()
                .map_err(|_| format!("strconv.ParseUint: parsing {digits:?}: value out of range"))
        };
        let parts = [number("major", major)?, number("minor", minor)?, number("patch", patch)?];
        let words = |words: Option<&str>, what: &str| -> std::result::Result<Vec<String>, String> {
            let Some(words) = words else { return Ok(Vec::new()) };
            let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
            words
                .split('.')
                .map(|word| match word {
                    "" if what == "prerelease" => Err("Prerelease is empty".to_owned()),
                    "" => Err("Build meta data is empty".to_owned()),
                    _ if !word.bytes().all(plain) => {
                        Err(format!("Invalid character(s) found in {what} {word:?}"))
                    }
                    _ => Ok(word.to_owned()),
                })
                .collect()
        };
        let pre = words(pre, "prerelease")?;
        if let Some(number) = pre
            .iter()
            .find(|word| word.len() > 1 && word.starts_with('0') && word.bytes().all(|c| c.is_ascii_digit()))
        {
            return Err(format!("Numeric PreRelease version must not contain leading zeroes {number:?}"));
        }
        Ok(Self { parts, pre, build: words(build, "build meta data")? })
    }

    /// Reads what is nearly a version: `v1.02` is 1.2.0.
    fn tolerant(text: &str) -> std::result::Result<Self, String> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = text
            .splitn(3, '.')
            .map(|part| {
                if part.len() <= 1 {
                    return part.to_owned();
                }
                let trimmed = part.trim_start_matches('0');
                match trimmed.starts_with(|c: char| c.is_ascii_digit()) {
                    true => trimmed.to_owned(),
                    false => format!("0{trimmed}"),
                }
            })
            .collect();
        if parts.len() < 3 {
            if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
                return Err("short version cannot contain PreRelease/Build meta data".into());
            }
            parts.resize(3, "0".into());
        }
        Self::parse(&parts.join("."))
    }

    /// The order of two versions; what was built from is not looked at.
    pub fn compare(&self, other: &Self) -> Ordering {
        self.parts.cmp(&other.parts).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            // A version comes after everything that was released before it.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let words = self.pre.iter().zip(&other.pre);
                words
                    .map(|(a, b)| match (a.parse::<u64>(), b.parse::<u64>()) {
                        (Ok(a), Ok(b)) => a.cmp(&b),
                        (Ok(_), Err(_)) => Ordering::Less,
                        (Err(_), Ok(_)) => Ordering::Greater,
                        (Err(_), Err(_)) => a.cmp(b),
                    })
                    .find(|order| order.is_ne())
                    .unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        })
    }
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "semver" => |call| match read(call)? {
            Ok(version) => Ok(Library::Semver(Arc::new(version)).into()),
            Err(why) => Err(EvaluationError::Failed(why)),
        },
        "isSemver" => |call| Ok(Value::Bool(read(call)?.is_ok())),
        "major" => |call| part(call, 0),
        "minor" => |call| part(call, 1),
        "patch" => |call| part(call, 2),
        _ => return None,
    })
}

fn read(call: &Call<'_, '_>) -> Result<std::result::Result<Semver, String>> {
    let tolerant = match call.args.get(1) {
        None => false,
        Some(value) => value.as_bool().ok_or_else(EvaluationError::no_overload)?,
    };
    let text = call.text(0)?;
    Ok(if tolerant { Semver::tolerant(text) } else { Semver::parse(text) })
}

fn part<'a>(call: &Call<'_, 'a>, place: usize) -> Result<Value<'a>> {
    match call.library(0)? {
        Library::Semver(version) => Ok(Value::Int(i64::try_from(version.parts[place]).unwrap_or(i64::MAX))),
        _ => Err(EvaluationError::no_overload()),
    }
}
