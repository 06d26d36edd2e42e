//! A web server of one page, for examples: it says which pod answered.
//!
//! One file without dependencies, built static, so that an image of it needs nothing else.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn answer(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    let mut request = [0u8; 4096];
    let read = stream.read(&mut request)?;
    if read == 0 {
        return Ok(());
    }
    let body = format!("Hello from {name}\n");
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    // Read what is left, so that the client sees an end and not a reset.
    stream.shutdown(std::net::Shutdown::Write)?;
    while stream.read(&mut request)? > 0 {}
    Ok(())
}

fn main() -> std::io::Result<()> {
    let name = std::env::var("HOSTNAME").unwrap_or_else(|_| "an unnamed pod".into());
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    eprintln!("listening on port {port}");
    for stream in listener.incoming() {
        let stream = stream?;
        let name = name.clone();
        std::thread::spawn(move || {
            if let Err(error) = answer(stream, &name) {
                eprintln!("a request failed: {error}");
            }
        });
    }
    Ok(())
}
