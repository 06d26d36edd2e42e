//! Fresh connections to a web server, one after the other from several threads, and what became of them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running load. It comes from the place of the thread that started it.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    begun: Instant,
    seen: Arc<Seen>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    answered: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

impl Load {
    /// Starts `clients` threads, each with so many connections a second at most.
    pub fn start(address: &str, clients: usize, per_second: u32) -> Self {
        let address: SocketAddr = address.parse().unwrap_or_else(|error| panic!("{address}: {error}"));
        let (stop, seen, begun) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()), Instant::now());
        let client = |_| {
            let (stop, seen) = (stop.clone(), seen.clone());
            std::thread::spawn(move || {
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // The pace is part of the load: each connection has its own time.
                    let due = begun + Duration::from_secs(1) * turn / per_second;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    match get(address) {
                        Ok(()) => drop(seen.answered.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => {
                            let at = begun.elapsed();
                            let mut failed = seen.failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.push(format!("{at:.3?}: {error}"));
                        }
                    }
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, begun, seen, clients }
    }

    /// How many connections were answered so far.
    pub fn answered(&self) -> usize {
        self.seen.answered.load(Ordering::Relaxed)
    }

    /// The time since it began, which failures are told in.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Ends it: how many were answered, and which failed.
    pub fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client does not panic");
        }
        let failed = std::mem::take(&mut *self.seen.failed.lock().unwrap_or_else(PoisonError::into_inner));
        (self.seen.answered.load(Ordering::Relaxed), failed)
    }
}

fn get(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(std::io::Error::other(format!("answered {answer:?}"))),
    }
}
