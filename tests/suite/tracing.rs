//! W3C trace context: passed on as it came, or begun.

use crate::support::{Settings, Sidecar, Upstream};

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const STATE: &str = "vendor=opaque,other=1";

fn start(settings: impl FnOnce(Settings) -> Settings) -> (Upstream, Sidecar) {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&settings(Sidecar::bare(&upstream).raw("log.access", "true")));
    (upstream, sidecar)
}

/// What the app gets of the trace for what the client sends.
fn passed(upstream: &Upstream, sidecar: &Sidecar, fields: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    assert_eq!(sidecar.ask("GET", "/", fields, b"").status, 200);
    let seen = upstream.seen().pop().expect("a request");
    let all = |name: &str| seen.all(name).into_iter().map(str::to_owned).collect();
    (all("traceparent"), all("tracestate"))
}

#[test]
fn a_trace_is_passed_on_as_it_came() {
    let (upstream, sidecar) = start(|settings| settings);
    assert_eq!(passed(&upstream, &sidecar, &[]), (vec![], vec![]));
    for value in [VALID, "no trace at all", &VALID.to_uppercase(), ""] {
        let fields = [("tracestate", STATE), ("traceparent", value)];
        assert_eq!(passed(&upstream, &sidecar, &fields), (vec![value.into()], vec![STATE.into()]), "{value}");
    }
}

#[test]
fn a_valid_trace_goes_on_and_no_other() {
    let (upstream, sidecar) = start(|settings| settings.raw("proxy.trace.start", "true"));
    let untouched = (vec![VALID.to_owned()], vec![STATE.to_owned()]);
    assert_eq!(passed(&upstream, &sidecar, &[("tracestate", STATE), ("traceparent", VALID)]), untouched);

    let mut begun = std::collections::BTreeSet::new();
    let zero = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
    for fields in [
        &[][..],
        &[("tracestate", STATE)],
        &[("tracestate", STATE), ("traceparent", "")],
        &[("traceparent", &VALID[1..]), ("tracestate", STATE)],
        &[("traceparent", &VALID.to_uppercase())],
        &[("traceparent", &VALID.replacen("00", "ff", 1))],
        &[("traceparent", &zero)],
        &[("traceparent", VALID), ("traceparent", VALID), ("tracestate", STATE)],
    ] {
        let (parents, states) = passed(&upstream, &sidecar, fields);
        assert_eq!((parents.len(), states.len()), (1, 0), "{fields:?}");
        let parts: Vec<&str> = parents[0].split('-').collect();
        assert_eq!((parts.len(), parts[0], parts[3]), (4, "00", "01"), "{parents:?}");
        let is_id = |id: &str, length| id.len() == length && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert!(is_id(parts[1], 32) && is_id(parts[2], 16), "{parents:?}");
        assert!(begun.insert(parts[1].to_owned()), "{fields:?}: an id of its own");
    }
    // What the app is told is what the log says.
    crate::support::eventually(crate::support::PATIENCE, "the log names every trace", || {
        let log = sidecar.log();
        begun.iter().all(|id| log.contains(&format!("\"trace_id\":\"{id}\"")))
    });
}
