use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{PATIENCE, Process, eventually, local};

/// The app: this program again, as a process of its own, so that it can be killed and stopped.
pub(super) struct App(Process);

const PORT: &str = "SOAK_APP_PORT";

impl App {
    pub(super) fn start(port: u16) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "soak::app::serve", "--ignored", "--nocapture"]);
        let app = Self(Process::start(command.env(PORT, port.to_string()).stdout(Stdio::null())));
        eventually(PATIENCE, "the app accepts", || TcpStream::connect(local(port)).is_ok());
        app
    }

    /// Kills it, and starts another one in its place.
    pub(super) fn replaced(&mut self, port: u16) -> Self {
        self.0.kill();
        Self::start(port)
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.0.signal(signal);
    }
}

#[test]
#[ignore = "the app of the soak, which starts it"]
fn serve() {
    let Ok(port) = std::env::var(PORT) else { return };
    let listener = TcpListener::bind(("127.0.0.1", port.parse::<u16>().expect("a port"))).expect("the port");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            // Whoever broke off has ended this connection.
            let _ = converse(&stream);
        });
    }
}

/// Answers requests by their path until one of them ends the connection.
fn converse(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            let mut field = String::new();
            if reader.read_line(&mut field)? == 0 || field == "\r\n" {
                break;
            }
            if let Some(value) = field.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let read = std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        let mut words = target.trim_start_matches('/').split('/');
        let what = words.next().unwrap_or_default();
        let number: usize = words.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        match what {
            "bytes" => {
                write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {number}\r\n\r\n")?;
                let piece = [b'x'; 16 * 1024];
                let mut left = number;
                while left > 0 {
                    left -= writer.write(&piece[..left.min(piece.len())])?;
                }
            }
            "chunks" => {
                write!(writer, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                for _ in 0..number {
                    write!(writer, "5\r\nhello\r\n")?;
                }
                write!(writer, "0\r\nx-sum: 1\r\n\r\n")?;
            }
            "events" => {
                write!(writer, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")?;
                for event in 0..number {
                    std::thread::sleep(Duration::from_millis(20));
                    write!(writer, "data: {event}\n\n")?;
                }
                return Ok(());
            }
            "code" => write!(writer, "HTTP/1.1 {number} Scripted\r\ncontent-length: 0\r\n\r\n")?,
            "slow" => {
                std::thread::sleep(Duration::from_millis(200));
                write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow")?;
            }
            "half" => {
                write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")?;
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
                return Ok(());
            }
            "garbage" => return write!(writer, "SSH-2.0-garbage\r\n\r\n"),
            "upgrade" => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                            sec-websocket-accept: invented\r\n\r\n";
                write!(writer, "{head}")?;
                std::io::copy(&mut reader, &mut writer)?;
                return Ok(());
            }
            _ => {
                let text = read.to_string();
                write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())?;
            }
        }
    }
}
