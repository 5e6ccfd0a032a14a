//! A server of files over HTTP that answers requests for ranges, holds conditions, and keeps count.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How the server answers.
#[derive(Clone, Default)]
pub(crate) struct Ways {
    /// It sends whole files only.
    pub(crate) no_ranges: bool,
    pub(crate) etags: Etags,
    /// It does not say when files were modified.
    pub(crate) no_dates: bool,
    /// Every answer has this status and text.
    pub(crate) status: Option<(u16, &'static str)>,
    /// After so many requests for bytes every file is another.
    pub(crate) replaced_after: Option<usize>,
    /// Bytes of a body after which nothing more comes.
    pub(crate) stalls_after: Option<usize>,
    /// Only requests with this in their query are answered.
    pub(crate) query: Option<&'static str>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Etags {
    #[default]
    Strong,
    Weak,
    None,
}

/// What was asked and sent.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) method: String,
    pub(crate) bytes: usize,
}

pub(crate) struct Server {
    port: u16,
    state: Arc<State>,
}

struct State {
    files: Mutex<HashMap<String, Vec<u8>>>,
    ways: Ways,
    answered: Mutex<Vec<Answered>>,
}

impl Server {
    pub(crate) fn new(files: &[(&str, Vec<u8>)], ways: Ways) -> Self {
        let files = files
            .iter()
            .map(|(name, bytes)| (format!("/{name}"), bytes.clone()))
            .collect();
        let state = Arc::new(State {
            files: Mutex::new(files),
            ways,
            answered: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let of_all = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&of_all);
                // A client that goes away ends its thread.
                std::thread::spawn(move || while let Ok(true) = state.answer(&stream) {});
            }
        });
        Self { port, state }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// What was sent since the last call.
    pub(crate) fn answered(&self) -> Vec<Answered> {
        std::mem::take(&mut self.state.answered.lock().unwrap())
    }

    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        self.state.files.lock().unwrap().insert(format!("/{name}"), bytes);
    }
}

impl State {
    /// Answers one request; `false` at the end of the connection.
    fn answer(&self, stream: &TcpStream) -> std::io::Result<bool> {
        let mut lines = Vec::new();
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(false);
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut request = lines[0].split(' ');
        let method = request.next().unwrap_or_default().to_owned();
        let target = request.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |name: &str| {
            let found = lines[1..].iter().filter_map(|line| line.split_once(": "));
            { found }
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        let (status, headers, body) = self.response(&method, path, query, header("range"), header("if-match"));
        let body = if method == "HEAD" { &[][..] } else { &body[..] };
        let sent = self.ways.stalls_after.map_or(body.len(), |most| body.len().min(most));
        self.answered.lock().unwrap().push(Answered { method, bytes: sent });
        let mut stream = stream;
        write!(stream, "HTTP/1.1 {status} -\r\n{headers}\r\n")?;
        stream.write_all(&body[..sent])?;
        if sent < body.len() {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        }
        Ok(true)
    }

    fn response(
        &self,
        method: &str,
        path: &str,
        query: &str,
        range: Option<String>,
        if_match: Option<String>,
    ) -> (u16, String, Vec<u8>) {
        let short = |status: u16, text: &str| {
            (
                status,
                format!("Content-Length: {}\r\n", text.len()),
                text.as_bytes().to_vec(),
            )
        };
        if let Some((status, text)) = self.ways.status {
            return short(status, text);
        }
        if self.ways.query.is_some_and(|needed| query != needed) {
            return short(403, "the signature does not match");
        }
        let files = self.files.lock().unwrap();
        let Some(mut bytes) = files.get(path).cloned() else {
            return short(404, "nothing there");
        };
        let n_gets = self
            .answered
            .lock()
            .unwrap()
            .iter()
            .filter(|answered| answered.method == "GET")
            .count();
        if self.ways.replaced_after.is_some_and(|after| n_gets >= after) {
            let last = bytes.len() - 1;
            bytes.copy_within(0..last / 2, last / 2);
        }
        let etag = format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(&bytes));
        if if_match.is_some_and(|wanted| wanted != etag) {
            return short(412, "another");
        }
        let mut headers = match self.ways.etags {
            Etags::Strong => format!("ETag: {etag}\r\n"),
            Etags::Weak => format!("ETag: W/{etag}\r\n"),
            Etags::None => String::new(),
        };
        if !self.ways.no_dates {
            headers += "Last-Modified: Fri, 30 Jan 2026 10:00:00 GMT\r\n";
        }
        let whole = bytes.len();
        let range = range.filter(|_| !self.ways.no_ranges && method == "GET");
        let status = match range
            .as_deref()
            .and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        {
            Some((from, to)) => {
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                headers += &format!("Content-Range: bytes {from}-{to}/{whole}\r\n");
                bytes = bytes[from..=to].to_vec();
                206
            }
            None => 200,
        };
        headers += &format!("Content-Length: {}\r\n", bytes.len());
        (status, headers, bytes)
    }
}
