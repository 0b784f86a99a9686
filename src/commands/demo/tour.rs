use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::Method;
use hyper::header::HeaderMap;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::print;
use crate::fetch::{Answer, Question, fetch};
use crate::health::Status;
use crate::monitor::Board;
use crate::settings::Url;

/// Nothing of the tour takes longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at something that is about to change.
const GLANCE: Duration = Duration::from_millis(100);

/// Shows traffic, health turning 503 and back, and metrics.
pub(super) fn tour(base: &str, app_port: u16, board: &Board) -> Result<(), String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        print(&format!("\n  you ──► pulsegate {base} ──► the sample app http://127.0.0.1:{app_port}\n"));
        let guide = Guide { base };
        guide.traffic().await?;
        guide.health(board).await?;
        guide.failure().await?;
        guide.metrics().await
    })
}

/// What to do next.
pub(super) fn to_try(base: &str, app_port: u16) -> String {
    let direct = format!("http://127.0.0.1:{app_port}/");
    // As wide as the lines above it.
    let width = base.len() + 26;
    format!(
        "
Your turn, in another terminal:

  curl -i {base}/                          traffic, forwarded
  curl -N {base}/events                    server-sent events, as they come
  curl -s {base}/health/detailed | jq      every part, with its reason
  curl -X POST {base}/fail                 make the app fail, and watch /health turn 503
  curl -X POST {base}/recover              and back
  curl -s '{base}/readyz?verbose'          what Kubernetes asks
  curl -s {base}/metrics                   what Prometheus scrapes
  curl -i {direct:width$} the app without the sidecar

Ctrl-C ends it. Before an app of your own: pulsegate run --upstream http://127.0.0.1:8080
"
    )
}

struct Guide<'a> {
    base: &'a str,
}

impl Guide<'_> {
    async fn ask(&self, method: Method, path: &str) -> Result<Answer, String> {
        let url = Url::parse(&format!("{}{path}", self.base)).ok_or("the demo's own address is not a URL")?;
        let question = Question { method, url, headers: HeaderMap::new(), tls: None };
        match timeout(PATIENCE, fetch(&question)).await {
            Ok(answer) => answer.map_err(|error| format!("{path}: {error}")),
            Err(_) => Err(format!("{path} did not answer")),
        }
    }

    async fn show(&self, method: Method, path: &str) -> Result<Answer, String> {
        let answer = self.ask(method.clone(), path).await?;
        line(&format!("{method} {path}"), &answer);
        Ok(answer)
    }

    async fn traffic(&self) -> Result<(), String> {
        title("1. Traffic goes through");
        self.show(Method::GET, "/").await?;
        let events = self.ask(Method::GET, "/events").await?;
        let count = memchr::memmem::find_iter(&events.body, b"data: ").count();
        print(&format!("  {:22} {}  {count} server-sent events\n", "GET /events", events.status.as_u16()));
        let heard = self.echo().await?;
        print(&format!("  {:22} 101  a WebSocket: said \"hello\", heard \"{heard}\"\n", "GET /echo"));
        Ok(())
    }

    async fn echo(&self) -> Result<String, String> {
        let address = self.base.trim_start_matches("http://");
        let talk = async {
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            let url = format!("ws://{address}/echo");
            let (mut socket, _) =
                tokio_tungstenite::client_async(url, stream).await.map_err(|error| error.to_string())?;
            socket.send(Message::text("hello")).await.map_err(|error| error.to_string())?;
            let heard = socket.next().await.ok_or("the WebSocket closed")?.map_err(|error| error.to_string())?;
            let _ = socket.close(None).await;
            // Until the app has closed, too: who leaves before is counted as 499.
            while let Some(Ok(_)) = socket.next().await {}
            Ok(heard.to_text().unwrap_or_default().to_owned())
        };
        timeout(PATIENCE, talk).await.unwrap_or_else(|_| Err("the WebSocket did not answer".into()))
    }

    async fn health(&self, board: &Board) -> Result<(), String> {
        title("2. Health comes from one report");
        self.wait_for("/health", 200).await?;
        self.show(Method::GET, "/health").await?;
        let settled =
            board.wait_for(|report| report.check("claude_cli").is_none_or(|check| check.state.last.is_some()));
        let report = timeout(PATIENCE, settled).await.map_err(|_| "the CLI check gave no result")?;
        let cli = report.check("claude_cli").and_then(|check| check.state.last.as_ref().map(|last| (check, last)));
        if let Some((check, last)) = cli {
            let text = match (&last.finding.reason, last.finding.facts.get("version")) {
                (None, Some(crate::health::Fact::Text(version))) => {
                    format!("found, version {version}")
                }
                (Some(reason), _) => {
                    let weighs = check.on_failure.weigh(Status::Unhealthy) == Status::Healthy;
                    let aside = if weighs { " (shown in /health/detailed; does not weigh in this demo)" } else { "" };
                    format!("{}{aside}", reason.public)
                }
                _ => "found".to_owned(),
            };
            print(&format!("  the Claude CLI         {text}\n"));
        }
        Ok(())
    }

    async fn failure(&self) -> Result<(), String> {
        title("3. The app fails, and recovers");
        self.show(Method::POST, "/fail").await?;
        let took = self.wait_for("/health", 503).await?;
        self.show(Method::GET, "/health").await?;
        self.show(Method::GET, "/readyz").await?;
        print(&format!("  {:22} after {:.1} s\n", "", took.as_secs_f64()));
        self.show(Method::POST, "/recover").await?;
        let took = self.wait_for("/health", 200).await?;
        self.show(Method::GET, "/health").await?;
        print(&format!("  {:22} after {:.1} s, by itself\n", "", took.as_secs_f64()));
        Ok(())
    }

    async fn metrics(&self) -> Result<(), String> {
        title("4. Metrics tell the same story");
        let answer = self.ask(Method::GET, "/metrics").await?;
        let text = String::from_utf8_lossy(&answer.body);
        let worth = [
            "_requests_total{method",
            "_check_transitions_total{check=\"api_server\",to=\"unhealthy\"",
            "_claude_cli_status ",
            "_ready ",
        ];
        for metric in text.lines().filter(|line| !line.starts_with('#')) {
            if worth.iter().any(|part| metric.contains(part)) {
                print(&format!("  {metric}\n"));
            }
        }
        Ok(())
    }

    async fn wait_for(&self, path: &str, code: u16) -> Result<Duration, String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.ask(Method::GET, path).await?.status.as_u16() == code {
                return Ok(begun.elapsed());
            }
            tokio::time::sleep(GLANCE).await;
        }
        Err(format!("{path} did not turn {code} within {} s", PATIENCE.as_secs()))
    }
}

fn title(text: &str) {
    print(&format!("\n{text}\n"));
}

fn line(what: &str, answer: &Answer) {
    let body = String::from_utf8_lossy(&answer.body);
    let mut lines = body.trim_end().lines();
    print(&format!("  {what:22} {}  {}\n", answer.status.as_u16(), lines.next().unwrap_or_default()));
    for more in lines {
        print(&format!("  {:22}      {more}\n", ""));
    }
}
