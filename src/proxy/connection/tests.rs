use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::super::{
    Admission, Arrival, Current, Gate, Local, LocalAnswer, LocalBody, LocalRequest, Proxy, ProxySettings, Target,
};
use crate::drain::Hub;
use crate::settings::{Problems, read_empty};
use crate::traffic::Traffic;

/// Answers everything, and notes how many turns others have had by then.
struct Turns {
    turns: Rc<Cell<u32>>,
    noted: Rc<RefCell<Vec<u32>>>,
}

impl Local for Turns {
    fn answer(&self, _: &LocalRequest<'_>) -> Option<LocalAnswer> {
        self.noted.borrow_mut().push(self.turns.get());
        Some(LocalAnswer::Now(Response::new(LocalBody::Whole(Bytes::from_static(b"text")))))
    }

    fn owns(&self, _: &str) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_many_at_once_holds_up_nobody() {
    let settings: ProxySettings = read_empty("proxy", &Problems::default()).expect("defaults");
    let target = Target::load(&settings).expect("a target");
    let (traffic, admission) = (Arc::new(Traffic::new(1)), Arc::new(Admission::new(&settings.limits)));
    let (turns, noted) = (Rc::new(Cell::new(0)), Rc::new(RefCell::default()));
    let local = Turns { turns: turns.clone(), noted: noted.clone() };
    let proxy = Proxy::new(settings, target, 0, traffic, admission, Arc::new(Gate::default()), "us", local);
    let (current, hub) = (Current::new(proxy), Hub::default());
    let (mut client, server) = duplex(64 * 1024);
    let last = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let many = last.replace("Connection: close\r\n", "").repeat(99) + last;
    client.write_all(many.as_bytes()).await.expect("room");
    let arrival = Arrival::default();
    let others = async {
        while noted.borrow().len() < 100 {
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    futures_util::future::join(current.serve(server, arrival, &hub), others).await;
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.expect("an end");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 100);
    assert!(noted.borrow().is_sorted_by(|one, next| one < next), "{:?}", noted.borrow());
}
