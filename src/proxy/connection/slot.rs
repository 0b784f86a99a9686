use super::super::relay::Course;
use super::job::Job;

/// The memory of a request on its way to the app and of its exchange with it, which a worker uses again for the next one:
/// with many requests at the same time the allocator has no quick way to it.
#[derive(Default)]
pub(in crate::proxy) struct Slot {
    /// Dropped first: the connections are counted right before the request is.
    pub(super) course: Option<Course>,
    pub(super) job: Option<Job>,
}
