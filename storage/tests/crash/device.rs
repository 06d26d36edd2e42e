//! A disk that loses what was not synced.
//!
//! What a process reads is what it wrote. What a loss of power leaves is what was synced, and of the
//! rest any sectors, in any order: none, all, some, with holes of zeros where a file had grown. A
//! failed sync is the worst that real systems do: some of what was written has reached the device, and
//! the rest is forgotten, so that the next sync succeeds without it, while reads still show it.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use skiff_storage::embedded::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// What is done to the device at one of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call may have begun; it and all that follow fail.
    PowerOff,
    /// The call fails, once.
    Errno(i32),
}

/// What a call was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Read,
    Write,
    SetLen,
    Sync,
    Name,
    SyncNames,
}

#[derive(Clone)]
pub struct Device(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// The names after each change that is not durable.
    pending_names: Vec<BTreeMap<String, usize>>,
    calls: u64,
    renames: u64,
    fault: Option<(u64, Fault)>,
    failed: Option<Call>,
    off: bool,
    random: Random,
}

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(Vec<u8>, usize),
    SetLen(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(bytes, at) => {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::SetLen(length) => content.resize(*length, 0),
        }
    }

    /// The parts that a device writes whole or not at all.
    fn parts(&self) -> Vec<Self> {
        let Self::Write(bytes, at) = self else { return vec![self.clone()] };
        let mut parts = Vec::new();
        let mut from = *at;
        while from < at + bytes.len() {
            let to = ((from / SECTOR + 1) * SECTOR).min(at + bytes.len());
            parts.push(Self::Write(bytes[from - at..to - at].to_vec(), from));
            from = to;
        }
        parts
    }
}

impl Content {
    /// What the device holds of it when nothing more is written.
    fn left(&self, random: &mut Random) -> Vec<u8> {
        let mut left = self.durable.clone();
        let parts: Vec<Change> = self.pending.iter().flat_map(Change::parts).collect();
        let mode = random.below(4);
        let first = random.below(parts.len() as u64 + 1) as usize;
        for (at, part) in parts.iter().enumerate() {
            let written = match mode {
                0 => false,
                1 => true,
                2 => random.below(2) == 0,
                _ => at < first,
            };
            if written {
                part.apply(&mut left);
            }
        }
        // The length may have been noted without what fills it.
        if left.len() < self.now.len() && random.below(2) == 0 {
            left.resize(self.now.len(), 0);
        }
        left
    }
}

/// Splitmix64: the same numbers for the same seed.
#[derive(Default, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

impl Device {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner { random: Random(seed), ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Lets the call after so many more go wrong.
    pub fn fail(&self, after: u64, fault: Fault) {
        let mut inner = self.inner();
        inner.fault = Some((inner.calls + after, fault));
        inner.failed = None;
    }

    /// Nothing goes wrong from here on.
    pub fn heal(&self) {
        self.inner().fault = None;
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// Files renamed so far.
    pub fn renames(&self) -> u64 {
        self.inner().renames
    }

    /// What the call was that went wrong, if it came to it.
    pub fn failed(&self) -> Option<Call> {
        self.inner().failed.clone()
    }

    /// What is found after a loss of power.
    pub fn after_power_loss(&self) -> Self {
        let mut inner = self.inner();
        let mut random = inner.random.clone();
        let kept = random.below(inner.pending_names.len() as u64 + 1) as usize;
        let names = match kept {
            0 => inner.durable_names.clone(),
            kept => inner.pending_names[kept - 1].clone(),
        };
        let files = inner
            .files
            .iter()
            .map(|file| {
                let left = file.left(&mut random);
                Content { now: left.clone(), durable: left, pending: Vec::new() }
            })
            .collect();
        inner.random = random.clone();
        let left = Inner { files, names: names.clone(), durable_names: names, random, ..Inner::default() };
        Self(Arc::new(Mutex::new(left)))
    }
}

impl Inner {
    /// Counts a call; `Err` if it is to fail.
    fn call(&mut self, call: Call) -> Result<()> {
        if self.off {
            return Err(Error::other("the power is off"));
        }
        let now = self.calls;
        self.calls += 1;
        match self.fault {
            Some((at, fault)) if at == now => {
                self.failed = Some(call);
                self.off = fault == Fault::PowerOff;
                self.fault = None;
                Err(match fault {
                    Fault::PowerOff => Error::other("the power is off"),
                    Fault::Errno(errno) => Error::from_raw_os_error(errno),
                })
            }
            _ => Ok(()),
        }
    }

    fn rename(&mut self, names: BTreeMap<String, usize>) {
        self.names = names.clone();
        self.pending_names.push(names);
    }
}

impl Disk for Device {
    fn open(&self, name: &str) -> Result<Option<Box<dyn DiskFile>>> {
        let inner = self.inner();
        let file = inner.names.get(name).map(|id| File { device: self.clone(), id: *id });
        Ok(file.map(|file| Box::new(file) as Box<dyn DiskFile>))
    }

    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>> {
        let mut inner = self.inner();
        let called = inner.call(Call::Name);
        let id = inner.files.len();
        inner.files.push(Content::default());
        let mut names = inner.names.clone();
        names.insert(name.to_owned(), id);
        inner.rename(names);
        called?;
        Ok(Box::new(File { device: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut inner = self.inner();
        let called = inner.call(Call::Name);
        // A rename that fails has not happened; one that the power interrupts may have.
        if called.is_ok() || inner.off {
            let mut names = inner.names.clone();
            let id = names.remove(from).ok_or_else(|| Error::other("no such file"))?;
            names.insert(to.to_owned(), id);
            inner.renames += 1;
            inner.rename(names);
        }
        called
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut inner = self.inner();
        inner.call(Call::Name)?;
        let mut names = inner.names.clone();
        names.remove(name);
        inner.rename(names);
        Ok(())
    }

    fn sync_names(&self) -> Result<()> {
        let mut inner = self.inner();
        inner.call(Call::SyncNames)?;
        inner.durable_names = inner.names.clone();
        inner.pending_names.clear();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/device").join(name)
    }
}

struct File {
    device: Device,
    id: usize,
}

impl File {
    fn change(&self, call: Call, change: Change) -> Result<()> {
        let mut inner = self.device.inner();
        let called = inner.call(call);
        let change = match (&called, change) {
            (Err(_), Change::Write(mut bytes, at)) => {
                let done = inner.random.below(bytes.len() as u64 + 1) as usize;
                bytes.truncate(done);
                Change::Write(bytes, at)
            }
            (Err(error), Change::SetLen(_)) if !inner.off => return Err(Error::other(error.to_string())),
            (_, change) => change,
        };
        let file = &mut inner.files[self.id];
        change.apply(&mut file.now);
        file.pending.push(change);
        called
    }
}

impl DiskFile for File {
    fn read(&self) -> Result<Vec<u8>> {
        let mut inner = self.device.inner();
        inner.call(Call::Read)?;
        Ok(inner.files[self.id].now.clone())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.change(Call::Write, Change::Write(bytes.to_vec(), at as usize))
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.change(Call::SetLen, Change::SetLen(length as usize))
    }

    fn sync(&self) -> Result<()> {
        let mut inner = self.device.inner();
        let called = inner.call(Call::Sync);
        if inner.off {
            return called;
        }
        let mut random = inner.random.clone();
        let file = &mut inner.files[self.id];
        if called.is_ok() {
            for change in std::mem::take(&mut file.pending) {
                change.apply(&mut file.durable);
            }
        } else {
            file.durable = file.left(&mut random);
            file.pending.clear();
        }
        inner.random = random;
        called
    }
}
