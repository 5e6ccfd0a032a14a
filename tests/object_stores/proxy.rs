//! A way to a server that counts what goes through, and may do something when a request comes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type OnRequest = dyn Fn(&str) + Send + Sync;

pub(crate) struct Proxy {
    port: u16,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: Mutex<Vec<String>>,
    bytes: AtomicUsize,
}

impl Proxy {
    /// A way to the server at `endpoint`; `on_request` is given the first line of every request before it goes on.
    pub(crate) fn new(endpoint: &str, on_request: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let server = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let of_all = Arc::clone(&counts);
        let on_request: Arc<OnRequest> = Arc::new(on_request);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&server).unwrap();
                let (counts, on_request) = (Arc::clone(&of_all), Arc::clone(&on_request));
                let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let there = Arc::clone(&counts);
                std::thread::spawn(move || {
                    pass(client, server, |bytes| there.see_request(bytes, &*on_request));
                });
                std::thread::spawn(move || {
                    pass(back_from, back_to, |bytes| {
                        counts.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
                    });
                });
            }
        });
        Self { port, counts }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// First lines of the requests, and the bytes that came back, since the last call.
    pub(crate) fn counted(&self) -> (Vec<String>, usize) {
        let requests = std::mem::take(&mut *self.counts.requests.lock().unwrap());
        (requests, self.counts.bytes.swap(0, Ordering::Relaxed))
    }
}

impl Counts {
    /// Requests without a body come in one piece here.
    fn see_request(&self, bytes: &[u8], on_request: &OnRequest) {
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().next().unwrap_or_default();
        on_request(line);
        self.requests.lock().unwrap().push(line.to_owned());
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, see: impl Fn(&[u8])) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        see(&buffer[..n]);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
