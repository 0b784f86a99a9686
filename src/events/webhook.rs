use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::EventTotals;
use super::message::News;
use super::settings::{Template, WebhookError, WebhookSettings};
use super::totals::Outcome;
use crate::fetch::{FetchError, Question, send};
use crate::health::{Event, Moment};
use crate::settings::{Environment, Scheme};
use crate::tls::Client;

/// A receiver, ready to be told.
#[derive(Debug)]
pub struct Webhook {
    question: Question,
    template: Template,
    checks: Vec<String>,
    groups: Vec<String>,
    timeout: Duration,
    attempts: u32,
    service: Arc<str>,
}

/// At most so many messages wait for a receiver; further ones are dropped, and counted.
const MOST_WAITING: usize = 64;

/// At most so many messages a minute are for one receiver: a check that flaps is no news any more.
const MOST_A_MINUTE: u32 = 60;

/// The pause after a first failed attempt; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// More attempts would take longer than anybody wants to hear of it.
const MOST_ATTEMPTS: u32 = 10;

impl Webhook {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// A secret or a file cannot be read, or is not what it must be.
    pub fn new(settings: &WebhookSettings, service: &str, environment: &Environment) -> Result<Self, WebhookError> {
        let url = settings.url.resolve(environment)?;
        if url.scheme == Scheme::H2c {
            return Err(WebhookError::Scheme);
        }
        if !(1..=MOST_ATTEMPTS).contains(&settings.attempts) || settings.timeout.is_zero() {
            return Err(WebhookError::Never);
        }
        let mut headers = settings.fields(environment)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let https = url.scheme == Scheme::Https;
        let tls = https.then(|| Client::trusting(settings.ca.as_deref()).map(Arc::new));
        let tls = tls.transpose().map_err(WebhookError::Authorities)?;
        Ok(Self {
            question: Question { method: Method::POST, url, headers, tls },
            template: settings.template,
            checks: settings.checks.clone(),
            groups: settings.groups.clone(),
            timeout: settings.timeout,
            attempts: settings.attempts,
            service: service.into(),
        })
    }

    /// Begins to send what is put into the queue, until that is dropped and empty.
    pub(super) fn start(&self, tasks: &mut JoinSet<()>, totals: Arc<EventTotals>) -> Queue {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        let delivery = Delivery {
            question: self.question.clone(),
            timeout: self.timeout,
            attempts: self.attempts,
            totals: totals.clone(),
        };
        tasks.spawn(delivery.run(receiver));
        let (checks, groups) = (self.checks.clone(), self.groups.clone());
        let (template, service) = (self.template, self.service.clone());
        Queue { sender, checks, groups, template, service, totals, minute: 0, in_minute: 0 }
    }
}

/// What waits for one receiver.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<String>,
    checks: Vec<String>,
    groups: Vec<String>,
    template: Template,
    service: Arc<str>,
    totals: Arc<EventTotals>,
    minute: u64,
    in_minute: u32,
}

impl Queue {
    /// Puts an event in, if the receiver is to be told and there is room.
    pub(super) fn offer(&mut self, event: &Event, now: Moment) {
        let Some(news) = News::of(event).filter(|news| self.wants(news)) else { return };
        let minute = now.monotonic.as_secs() / 60;
        if minute != self.minute {
            (self.minute, self.in_minute) = (minute, 0);
        }
        self.in_minute += 1;
        let body = news.body(self.template, &self.service);
        if self.in_minute > MOST_A_MINUTE || self.sender.try_send(body).is_err() {
            self.totals.count(Outcome::Dropped);
            let told = news.name;
            tracing::debug!(told, "an event was dropped: too many wait, or too many came");
        }
    }

    fn wants(&self, news: &News<'_>) -> bool {
        let names = |list: &[String]| list.iter().any(|name| name == news.name);
        if news.is_group { names(&self.groups) } else { self.checks.is_empty() || names(&self.checks) }
    }
}

struct Delivery {
    question: Question,
    timeout: Duration,
    attempts: u32,
    totals: Arc<EventTotals>,
}

/// What came of one attempt.
enum Attempt {
    Taken,
    /// Another attempt would end like this one.
    Refused(StatusCode),
    Busy(StatusCode),
    Unreachable(FetchError),
    Late,
}

impl Delivery {
    async fn run(self, mut bodies: mpsc::Receiver<String>) {
        while let Some(body) = bodies.recv().await {
            let outcome = if self.deliver(&body.into()).await { Outcome::Sent } else { Outcome::Failed };
            self.totals.count(outcome);
        }
    }

    async fn deliver(&self, body: &Bytes) -> bool {
        let mut pause = FIRST_PAUSE;
        // The path may be a secret; the authority is not.
        let to = self.question.url.authority();
        for attempt in 1..=self.attempts {
            let again = match self.attempt(body).await {
                Attempt::Taken => return true,
                Attempt::Refused(code) => {
                    tracing::warn!(to, code = code.as_u16(), "an event was refused");
                    false
                }
                Attempt::Busy(code) => {
                    tracing::warn!(to, attempt, code = code.as_u16(), "an event was not taken");
                    true
                }
                Attempt::Unreachable(error) => {
                    tracing::warn!(to, attempt, %error, "an event could not be sent");
                    true
                }
                Attempt::Late => {
                    tracing::warn!(to, attempt, "an event was not taken in time");
                    true
                }
            };
            if !again || attempt == self.attempts {
                return false;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        false
    }

    async fn attempt(&self, body: &Bytes) -> Attempt {
        match tokio::time::timeout(self.timeout, send(&self.question, body.clone())).await {
            Ok(Ok(answer)) if answer.status.is_success() => Attempt::Taken,
            Ok(Ok(answer)) => match answer.status {
                code @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => Attempt::Busy(code),
                code if code.is_server_error() => Attempt::Busy(code),
                code => Attempt::Refused(code),
            },
            Ok(Err(error)) => Attempt::Unreachable(error),
            Err(_) => Attempt::Late,
        }
    }
}

#[cfg(test)]
mod tests;
