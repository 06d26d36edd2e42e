//! Events in a file, a line each. A file that is full or old is set aside under the time at which it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};

/// The largest file where none is given, in megabytes, as upstream's.
const DEFAULT_MB: u64 = 100;

/// Where events are written and how long they are kept.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// The file; `-` is the standard output.
    pub path: PathBuf,
    /// The size at which a file is set aside, in megabytes; 0 is 100.
    pub max_size_mb: u64,
    /// How many files that were set aside are kept; 0 is all.
    pub max_backups: usize,
    /// How long they are kept, in days; 0 is for ever.
    pub max_age_days: u32,
    /// Whether they are compressed.
    pub compress: bool,
}

/// The log.
pub struct Log {
    options: LogOptions,
    open: Mutex<Open>,
}

struct Open {
    /// Nothing for the standard output.
    file: Option<File>,
    written: u64,
}

impl Log {
    /// Opens the file, or makes it, with its folder.
    pub fn open(options: LogOptions) -> io::Result<Self> {
        let open = if options.path == Path::new("-") {
            Open { file: None, written: 0 }
        } else {
            if let Some(dir) = options.path.parent() {
                fs::create_dir_all(dir)?;
            }
            append(&options.path)?
        };
        Ok(Self { options, open: Mutex::new(open) })
    }

    /// Adds a line, which ends in a newline. It is with the kernel when this returns.
    pub fn add(&self, line: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let limit = if self.options.max_size_mb == 0 { DEFAULT_MB } else { self.options.max_size_mb } << 20;
        let length = line.len() as u64;
        let full = open.written > 0 && open.written + length > limit;
        if full && open.file.is_some() {
            self.set_aside()?;
            *open = append(&self.options.path)?;
        }
        open.written += length;
        match &mut open.file {
            Some(file) => file.write_all(line),
            None => io::stdout().lock().write_all(line),
        }
    }

    fn set_aside(&self) -> io::Result<()> {
        let mut now = Timestamp::now();
        let mut old = aside(&self.options.path, now);
        while old.exists() {
            // Names tell milliseconds only.
            now += SignedDuration::from_millis(1);
            old = aside(&self.options.path, now);
        }
        fs::rename(&self.options.path, &old)?;
        let options = self.options.clone();
        // Compressing takes time that no request should wait for.
        std::thread::spawn(move || {
            let packed = if options.compress { compress(&old) } else { Ok(()) };
            let tidied = packed.and_then(|()| tidy(&options, now));
            if let Err(error) = tidied {
                tracing::warn!(%error, path = %old.display(), "old audit logs could not be tidied");
            }
        });
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<Open> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let written = file.metadata()?.len();
    Ok(Open { file: Some(file), written })
}

/// `audit.log` becomes `audit-2026-01-02T03-04-05.678.log`.
fn aside(path: &Path, now: Timestamp) -> PathBuf {
    let (stem, ending) = parts(path);
    path.with_file_name(format!("{stem}-{}{ending}", now.strftime("%Y-%m-%dT%H-%M-%S%.3f")))
}

fn parts(path: &Path) -> (String, String) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    (stem, ending)
}

fn compress(path: &Path) -> io::Result<()> {
    let packed = PathBuf::from(format!("{}.gz", path.display()));
    let mut encoder = GzEncoder::new(File::create(&packed)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::remove_file(path)
}

/// Removes what was set aside and is too old, or one too many.
fn tidy(options: &LogOptions, now: Timestamp) -> io::Result<()> {
    let (stem, ending) = parts(&options.path);
    let dir = options.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut old: Vec<(Timestamp, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let time = name.strip_prefix(&format!("{stem}-")).and_then(|rest| {
            let rest = rest.strip_suffix(".gz").unwrap_or(rest).strip_suffix(&ending)?;
            Timestamp::strptime("%Y-%m-%dT%H-%M-%S%.fZ%z", format!("{rest}Z+0000")).ok()
        });
        old.extend(time.map(|time| (time, entry.path())));
    }
    old.sort();
    old.reverse();
    let kept = if options.max_backups == 0 { usize::MAX } else { options.max_backups };
    let age = SignedDuration::from_hours(24 * i64::from(options.max_age_days));
    for (index, (time, path)) in old.iter().enumerate() {
        let too_old = options.max_age_days > 0 && now.duration_since(*time) > age;
        if index >= kept || too_old {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let list = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = list.collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_set_aside_and_no_line_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/audit.log");
        let log =
            Log::open(LogOptions { path: path.clone(), max_size_mb: 1, ..LogOptions::default() }).unwrap();
        let line = [&[b'x'; 700 << 10][..], b"\n"].concat();
        for _ in 0..3 {
            log.add(&line).unwrap();
        }
        let all = names(path.parent().unwrap());
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all.iter().all(|name| name.starts_with("audit") && name.ends_with(".log")), "{all:?}");
    }

    #[test]
    fn the_oldest_and_the_too_many_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        for day in [1, 7, 8, 9] {
            let at = format!("2026-03-{day:02}T00:00:00.5Z").parse().unwrap();
            fs::write(aside(&path, at), "x\n").unwrap();
        }
        fs::write(dir.path().join("audit-of-another.log"), "").unwrap();
        compress(&aside(&path, "2026-03-08T00:00:00.5Z".parse().unwrap())).unwrap();
        let options = LogOptions { path: path.clone(), max_age_days: 5, ..LogOptions::default() };
        tidy(&options, now).unwrap();
        let all = ["audit-2026-03-07T00-00-00.500.log", "audit-2026-03-08T00-00-00.500.log.gz"];
        let rest = ["audit-2026-03-09T00-00-00.500.log", "audit-of-another.log"];
        assert_eq!(names(dir.path()), [&all[..], &rest[..]].concat());
        tidy(&LogOptions { max_backups: 1, ..options }, now).unwrap();
        assert_eq!(names(dir.path()), rest);
    }
}
