use std::time::Duration;

use h2::server::Builder;

use super::super::http1::MOST_FIELDS;
use super::super::settings::Limits;
use super::in_hand::CONNECTION_WINDOW;

/// Every limit of the library that a client could go against, said here.
pub(super) fn builder(limits: &Limits) -> Builder {
    // What is a little larger than allowed is refused by the engine, which counts it.
    let head = limits.header_bytes.0.saturating_add((MOST_FIELDS * FIELD_OVERHEAD) as u64);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MOST_RESET_UNSEEN)
        // It would count them for as long as the connection lasts; `Departures` does it by time.
        .max_local_error_reset_streams(None)
        .max_concurrent_reset_streams(MOST_REMEMBERED)
        .reset_stream_duration(REMEMBERED)
        .data_frame_budget(SMALL_FRAMES);
    builder
}

/// What a client may send of one request's body before the engine has taken any of it.
const STREAM_WINDOW: u32 = 65_535;

/// So much of an answer may wait for the socket.
const SEND_BUFFER: usize = 64 * 1024;

/// What HPACK counts for each field beyond name and value (RFC 9113 section 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Streams that are reset before they could be accepted: more at once are an attack (rapid reset).
const MOST_RESET_UNSEEN: usize = 20;

/// Streams whose late frames are still known to be late, and for how long.
const MOST_REMEMBERED: usize = 50;
const REMEMBERED: Duration = Duration::from_secs(1);

/// What small DATA frames may cost beyond their bytes, until the engine has absorbed them: all that a window has room for, if
/// they have 32 bytes each.
const SMALL_FRAMES: usize = 8 * 1024 * 1024;
