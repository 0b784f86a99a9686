use std::os::fd::AsFd as _;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::super::connection::ClientStream;
use super::super::local::Local;
use super::super::pipes::Pipe;
use super::{Down, Relay, Step};

/// From so much on, what is left of a body goes from socket to socket inside the kernel, by splice(2).
const WORTH_A_PIPE: u64 = 64 * 1024;

/// How a large body of known length passes: its pages move through a pipe from one socket to the other, and nobody copies
/// them. Only where nothing is to be looked at or changed, and neither side is encrypted.
impl<L: Local, S: ClientStream> Relay<'_, L, S> {
    /// Takes a pipe, if what comes now can go through one.
    pub(super) fn begin_splice(&mut self) {
        let Down::Body(download) = &self.course.down else { return };
        let looked_at = download.scan.is_some() || download.reading.as_ref().is_some_and(|reading| reading.looks());
        let worth = !looked_at && download.reader.left().is_some_and(|left| left >= WORTH_A_PIPE);
        if worth && self.course.pipe.is_none() && self.client.tcp().is_some() && self.course.lease.tcp().is_some() {
            self.course.pipe = self.proxy.pipes.take();
        }
    }

    /// Moves the body on through the pipe; tells whether anything moved.
    pub(super) fn poll_splice(&mut self, cx: &mut Context<'_>) -> Result<bool, Step> {
        let mut moved = false;
        while let Some(pipe) = &mut self.course.pipe {
            if pipe.held > 0 {
                match pour(self.client.tcp(), cx, pipe) {
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(_)) => return Err(Step::ClientGone),
                    Poll::Pending => break,
                }
                continue;
            }
            let Down::Body(download) = &mut self.course.down else { break };
            let Some(left) = download.reader.left() else {
                self.course.pipe = None;
                break;
            };
            match fill(self.course.lease.tcp(), cx, pipe, left) {
                Poll::Ready(Ok(0)) => self.app_closed()?,
                Poll::Ready(Ok(length)) => {
                    download.reader.pass(length as u64);
                    self.job.exchange.send(length as u64);
                    moved = true;
                }
                // Not for this socket or this kernel: then as any other body, and no more attempts.
                Poll::Ready(Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)) => {
                    self.proxy.pipes.forbid();
                    self.course.pipe = None;
                }
                Poll::Ready(Err(error)) => return Err(self.app_failed(&error.into())),
                Poll::Pending => break,
            }
        }
        Ok(moved)
    }
}

/// Empties the pipe into the client's socket, as far as that takes it.
fn pour(client: Option<&TcpStream>, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<(), Errno>> {
    let Some(client) = client else { return Poll::Ready(Err(Errno::NOTSOCK)) };
    loop {
        if client.poll_write_ready(cx).is_pending() {
            return Poll::Pending;
        }
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let poured = client.try_io(Interest::WRITABLE, || {
            Ok(splice(&pipe.ends.outlet, None, client.as_fd(), None, pipe.held, flags)?)
        });
        match poured {
            Ok(length) => {
                pipe.held = pipe.held.saturating_sub(length);
                return Poll::Ready(Ok(()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
        }
    }
}

/// Fills the empty pipe from the app's socket with at most `left` bytes; 0 is the end.
fn fill(app: Option<&TcpStream>, cx: &mut Context<'_>, pipe: &mut Pipe, left: u64) -> Poll<Result<usize, Errno>> {
    let Some(app) = app else { return Poll::Ready(Err(Errno::INVAL)) };
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(pipe.ends.room);
    loop {
        if app.poll_read_ready(cx).is_pending() {
            return Poll::Pending;
        }
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let filled =
            app.try_io(Interest::READABLE, || Ok(splice(app.as_fd(), None, &pipe.ends.inlet, None, most, flags)?));
        match filled {
            Ok(length) => {
                pipe.held = length;
                return Poll::Ready(Ok(length));
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
        }
    }
}
