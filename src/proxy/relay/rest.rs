use std::future::poll_fn;
use std::task::{Poll, ready};

use tokio::time::timeout;

use super::super::connection::Job;
use super::super::http1::{Parsed, Room, parse_response};
use super::super::local::Local;
use super::super::upstream::Lease;
use super::super::worker::Proxy;
use super::{Down, Download, LARGEST_HEAD, MOST_INTERIM, read};

/// What is left of an exchange whose client has gone, where the app may finish what it has begun: its answer is read to the
/// end, and nobody gets it.
pub(in crate::proxy) struct Rest {
    pub(super) lease: Lease,
    pub(super) down: Down,
}

/// How far that is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    More,
    Whole,
    Broken,
}

impl Rest {
    /// Reads it, for as long as that is allowed.
    pub(in crate::proxy) async fn finish<L: Local>(mut self, proxy: &Proxy<L>, job: &Job) {
        let whole = async {
            // The client left with the last of it on its way.
            if matches!(&self.down, Down::Body(download) if download.reader.is_done()) {
                return true;
            }
            loop {
                let read = poll_fn(|cx| {
                    let mut scratch = proxy.scratch.borrow_mut();
                    let length = ready!(read(self.lease.stream(), cx, &mut scratch)).unwrap_or(0);
                    Poll::Ready(self.take_in(&mut scratch[..length], job, proxy))
                });
                match read.await {
                    Progress::More => {}
                    progress => return progress == Progress::Whole,
                }
            }
        };
        let whole = timeout(proxy.settings.finish_abandoned, whole).await;
        if let (Ok(true), Down::Body(download)) = (whole, self.down)
            && download.reusable
        {
            self.lease.give_back(job.to_head || matches!(download.code, 204 | 304));
        }
    }

    /// Takes in bytes of the app; none is its end.
    fn take_in<L: Local>(&mut self, bytes: &mut [u8], job: &Job, proxy: &Proxy<L>) -> Progress {
        match &mut self.down {
            Down::Head { .. } if bytes.is_empty() => Progress::Broken,
            Down::Head { partial, interim } => {
                partial.extend_from_slice(bytes);
                let mut all = std::mem::take(partial);
                let mut rest = &mut all[..];
                loop {
                    let mut fields = Room::new();
                    match parse_response(rest, &mut fields, job.to_head) {
                        Ok(Parsed::Complete(head, length)) if length <= LARGEST_HEAD && head.code != 101 => {
                            if head.code >= 200 {
                                self.down = Down::Body(Download::begin(&head, job, proxy));
                                return self.take_in_body(&mut rest[length..], job, proxy);
                            }
                            *interim += 1;
                            if *interim > MOST_INTERIM {
                                return Progress::Broken;
                            }
                            rest = &mut rest[length..];
                        }
                        Ok(Parsed::Partial) if rest.len() <= LARGEST_HEAD => {
                            *partial = rest.to_vec();
                            return Progress::More;
                        }
                        Ok(_) | Err(_) => return Progress::Broken,
                    }
                }
            }
            Down::Body(download) if bytes.is_empty() => {
                download.reusable = false;
                if download.reader.close() { Progress::Whole } else { Progress::Broken }
            }
            Down::Body(_) => self.take_in_body(bytes, job, proxy),
        }
    }

    fn take_in_body<L: Local>(&mut self, bytes: &mut [u8], job: &Job, proxy: &Proxy<L>) -> Progress {
        let Down::Body(download) = &mut self.down else { return Progress::Broken };
        if download.take_in(bytes, &job.exchange, proxy, |_| {}).is_err() {
            return Progress::Broken;
        }
        if !download.reader.is_done() {
            return Progress::More;
        }
        if let Some(scan) = &mut download.scan {
            scan.end(download.reading.as_deref(), &proxy.traffic);
        }
        Progress::Whole
    }
}
