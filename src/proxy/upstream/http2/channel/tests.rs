use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const SECOND: Duration = Duration::from_secs(1);

/// A connection to an app that has greeted, and the app's end of it.
async fn channel() -> (Rc<Channel>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
    let (mut app, _) = listener.accept().await.expect("a client");
    app.write_all(SETTINGS).await.expect("a greeting");
    let channel = Channel::open(AppStream::Tcp(client), false, Arc::default()).await.expect("HTTP/2");
    let mut preface = [0; 24];
    app.read_exact(&mut preface).await.expect("a preface");
    (channel, app)
}

/// The payload of the next PING.
async fn ping(app: &mut TcpStream) -> [u8; 8] {
    loop {
        let mut head = [0; 9];
        app.read_exact(&mut head).await.expect("a frame");
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        app.read_exact(&mut payload).await.expect("its payload");
        if head[3] == 6 {
            return payload.try_into().expect("eight bytes");
        }
    }
}

#[tokio::test]
async fn an_app_that_owes_answers_and_is_dead_is_given_up() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let (channel, mut app) = channel().await;
            let place = channel.place().expect("a stream");
            let begun = Instant::now();
            channel.sweep(begun);
            channel.sweep(begun + PING_AFTER);
            ping(&mut app).await;
            channel.sweep(begun + PING_AFTER + PONG_WITHIN - SECOND);
            assert!(!channel.is_useless(), "a pause of half a minute is none");
            channel.sweep(begun + PING_AFTER + PONG_WITHIN);
            assert!(channel.is_useless());
            let broken = channel.broke(&h2::Reason::CANCEL.into());
            assert_eq!(broken, Broken::Rejected(Rejection::ResponseTimeout), "it is the app that was silent");
            assert_eq!(app.read_to_end(&mut Vec::new()).await.expect("the end"), 0);
            drop(place);
            let counted = (&channel.shard.upstream_idle, &channel.shard.upstream_active);
            assert_eq!((counted.0.get(), counted.1.get()), (0, 0));
        })
        .await;
}

#[tokio::test]
async fn an_app_that_says_that_it_is_there_is_not_asked_again_for_a_while() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let (channel, mut app) = channel().await;
            let _place = channel.place().expect("a stream");
            let begun = Instant::now();
            channel.sweep(begun);
            channel.sweep(begun + PING_AFTER);
            let reads = channel.seen.reads();
            let pong = [b"\0\0\x08\x06\x01\0\0\0\0".as_slice(), &ping(&mut app).await].concat();
            app.write_all(&pong).await.expect("a pong");
            while channel.seen.reads() == reads {
                tokio::task::yield_now().await;
            }
            let mut now = begun + PING_AFTER;
            while now < begun + PING_AFTER + PING_AGAIN - SECOND {
                now += 10 * SECOND;
                channel.sweep(now);
                assert!(channel.pulse.borrow().asked.is_none() || now >= begun + PING_AFTER + PING_AGAIN);
            }
            channel.sweep(begun + PING_AFTER + PING_AGAIN + SECOND);
            assert!(channel.pulse.borrow().asked.is_some(), "but then");
            assert!(!channel.is_useless());
        })
        .await;
}
