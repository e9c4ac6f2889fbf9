//! Fetches many paths as fast as the answers come, for benches of tiles and other reads.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Uri};

use super::connection::Answer;
use super::drive::{Drive, Job, PATIENCE};
use super::measure::{Measured, Progress};
use super::{LoadError, Target};

/// Most bytes of an answer that are kept: a problem document.
const MAX_PROBLEM_BYTES: usize = 4 * 1024;

/// What to fetch, and for how long.
#[derive(Debug, Clone)]
pub struct Fetches {
    /// The server.
    pub target: Target,
    /// Paths below the target's prefix, fetched in this order and then again; at least one.
    pub paths: Vec<String>,
    /// Connections, each with one request under way.
    pub connections: usize,
    /// How long requests are sent.
    pub duration: Duration,
}

/// Fetches the paths over and over until the time is over or `stop` is ready. Reads each body to its end, and counts
/// its bytes.
///
/// # Errors
/// [`LoadError`], also if nothing is answered with 200 and something with 4xx.
///
/// # Panics
/// If there is no path.
pub fn fetch(
    fetches: &Fetches,
    stop: impl Future<Output = ()>,
    watch: &mut dyn FnMut(&Progress),
) -> Result<Measured, LoadError> {
    assert!(!fetches.paths.is_empty(), "at least one path to fetch");
    let uris = fetches.paths.iter().map(|path| fetches.target.uri(path)).collect::<Result<_, _>>()?;
    let job = Fetch { uris, host: fetches.target.host().clone(), next: Cell::new(0) };
    let (target, connections, duration) = (&fetches.target, fetches.connections, fetches.duration);
    let drive = Drive { target, connections, duration, rate: None, batch: 1, patience: PATIENCE };
    super::drive::drive(Rc::new(job), &drive, stop, watch)
}

struct Fetch {
    uris: Vec<Uri>,
    host: HeaderValue,
    next: Cell<usize>,
}

impl Job for Fetch {
    /// Position in `uris`.
    type Ask = usize;

    async fn next(&self) -> usize {
        let at = self.next.get();
        self.next.replace((at + 1) % self.uris.len())
    }

    fn request(&self, at: &usize) -> Request<Full<Bytes>> {
        let request = Request::get(self.uris[*at].clone()).header(HOST, &self.host);
        request.body(Full::default()).expect("a request of parts that were parsed")
    }

    fn keep(&self) -> usize {
        MAX_PROBLEM_BYTES
    }

    fn answered(&self, _at: usize, answer: &Answer, _elapsed: Duration, measured: &mut Measured) {
        measured.entries += 1;
        measured.bytes += answer.length;
    }
}
