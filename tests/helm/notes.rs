//! What Helm says after an installation: where traffic goes, and what is still to be done.

use crate::support::{chart, helm, path, succeed};

/// The notes of a release with these values.
fn notes(set: &str) -> String {
    let (chart, set) = (chart(), format!("app.image=example.org/app:1,{set}"));
    let mut command = helm(&["install", "my-app", path(&chart), "--namespace", "apps", "--dry-run=client"]);
    let said = succeed(command.args(["--set", &set]));
    let (_, notes) = said.split_once("\nNOTES:\n").unwrap_or_else(|| panic!("no notes: {said}"));
    notes.to_owned()
}

#[test]
fn they_say_what_this_release_is_and_nothing_else() {
    let monitored = "networkPolicy.enabled=true,monitoring.podMonitor.enabled=true";
    let cases = [
        ("service.port=8080", "Traffic goes to http://my-app.apps.svc:8080", ""),
        ("tls.existingSecret=a", "Traffic goes to https://my-app.apps.svc:80", "service.port=80"),
        ("admin.tls.existingSecret=a", "curl -s 'https://127.0.0.1:9000/readyz?verbose'", "service.port=80"),
        ("ingress.enabled=true,ingress.hosts[0].host=a.example.org", "leads there from http://a.example.org", ""),
        (
            "ingress.enabled=true,ingress.hosts[0].host=a.example.org,ingress.tls[0].secretName=a",
            "leads there from https://a.example.org",
            "",
        ),
        ("ingress.enabled=true", "from every host of its controller", "service.port=80"),
        (
            "httpRoute.enabled=true,httpRoute.parentRefs[0].name=a,httpRoute.hostnames={a.example.org,b.example.org}",
            "The HTTPRoute leads there from a.example.org, b.example.org.",
            "service.port=80",
        ),
        ("ingress.enabled=true", "Whoever comes in there can also see /metrics", "service.port=80"),
        (
            monitored,
            "Prometheus is not let through: say in networkPolicy.adminFrom",
            "monitoring.podMonitor.enabled=true",
        ),
        (
            "autoscaling.enabled=true",
            "set app.resources.requests.cpu",
            "autoscaling.enabled=true,app.resources.requests.cpu=1",
        ),
        ("service.port=80", "is published nowhere", "sidecar.image.repository=example.org/pulsegate"),
        ("service.port=80", "helm test my-app -n apps", "tls.existingSecret=a,tls.clientCa=ca.crt"),
        ("config.checks.database.tcp.address=db:1", "  - database", "service.port=80"),
    ];
    for (set, says, silent) in cases {
        let said = notes(set);
        assert!(said.contains(says), "{set}: {said}");
        // What is always said says nothing.
        if !silent.is_empty() {
            assert!(!notes(silent).contains(says), "{silent}: {said}");
        }
    }
    let kept = "ingress.enabled=true,config.endpoints./metrics.ports={admin}";
    assert!(!notes(kept).contains("/metrics"), "{}", notes(kept));
}
