//! How requests come in from outside: by an Ingress or by a route of the Gateway API. Both are off by default, and lead to the
//! traffic port alone.

use serde_json::{Value, json};

use crate::support::{
    KUBERNETES, chart, fail, object, objects_of, render, render_with, situations, succeed, template, unfit,
};

/// The port of the Service `my-app` behind a port of that Service.
fn behind(objects: &[Value], port: &Value) -> Value {
    let mut services = objects.iter().filter(|object| object["kind"] == "Service");
    let service = services.find(|service| service["metadata"]["name"] == "my-app").expect("the Service");
    let ports = service["spec"]["ports"].as_array().expect("ports");
    ports.iter().find(|theirs| &theirs["port"] == port).expect("a port of the Service")["targetPort"].clone()
}

#[test]
fn nothing_leads_in_by_default() {
    let outside = |situation: &String| matches!(&**situation, "ingress" | "http-route");
    for situation in situations().into_iter().filter(|situation| !outside(situation)) {
        let objects = objects_of(&render(&situation, KUBERNETES));
        assert!(
            !objects.iter().any(|object| object["kind"] == "Ingress" || object["kind"] == "HTTPRoute"),
            "{situation}"
        );
    }
}

#[test]
fn both_lead_to_the_traffic_port_whatever_the_ports_are() {
    let set = ["--set", "service.port=8443,sidecar.ports.traffic=8001,sidecar.ports.admin=9001"];
    let objects = objects_of(&render_with(&set, "ingress", KUBERNETES));
    let rules = object(&objects, "Ingress")["spec"]["rules"].as_array().expect("rules");
    let backends: Vec<&Value> = rules
        .iter()
        .flat_map(|rule| rule["http"]["paths"].as_array().expect("paths"))
        .map(|path| &path["backend"]["service"])
        .collect();
    assert_eq!((rules.len(), backends.len()), (2, 3));
    for backend in backends {
        assert_eq!(backend["name"], "my-app");
        assert_eq!(behind(&objects, &backend["port"]["number"]), 8001);
    }
    let objects = objects_of(&render_with(&set, "http-route", KUBERNETES));
    let rules = object(&objects, "HTTPRoute")["spec"]["rules"].as_array().expect("rules");
    for rule in rules {
        assert_eq!(rule["backendRefs"], json!([{ "name": "my-app", "port": 8443 }]));
        assert_eq!(behind(&objects, &rule["backendRefs"][0]["port"]), 8001);
    }
}

#[test]
fn the_gateway_api_accepts_the_route() {
    let fits = |rendered: &str| unfit(&objects_of(rendered), "gateway-api", "gateway.networking.k8s.io/v1");
    let rendered = render("http-route", KUBERNETES);
    assert_eq!(fits(&rendered), Vec::<String>::new());
    let set = "app.image=a:1,httpRoute.enabled=true,httpRoute.parentRefs[0].name=public";
    let least = succeed(&mut template(&chart(), &["--set", set], KUBERNETES));
    assert_eq!(fits(&least), Vec::<String>::new());
    let said = fits(&rendered.replace("type: PathPrefix", "type: Prefix"));
    assert!(said.len() == 1 && said[0].contains("spec/rules/0/matches/0/path/type"), "{said:?}");
}

/// An Ingress without hosts is for every host, and a host without paths for every path.
#[test]
fn what_is_not_said_is_everything() {
    let set = ["--set", "app.image=a:1,ingress.enabled=true"];
    let objects = objects_of(&succeed(&mut template(&chart(), &set, KUBERNETES)));
    let spec = &object(&objects, "Ingress")["spec"];
    let backend = json!({ "service": { "name": "my-app", "port": { "number": 80 } } });
    let everything = json!({ "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] });
    assert_eq!(spec, &json!({ "rules": [{ "http": everything }] }));
    let set = ["--set", "app.image=a:1,ingress.enabled=true,ingress.hosts[0].host=app.example.org"];
    let objects = objects_of(&succeed(&mut template(&chart(), &set, KUBERNETES)));
    let rules = &object(&objects, "Ingress")["spec"]["rules"];
    assert_eq!(rules, &json!([{ "host": "app.example.org", "http": everything }]));
}

#[test]
fn what_cannot_work_is_refused() {
    for (set, says) in [
        ("httpRoute.enabled=true", "httpRoute.parentRefs is needed: the gateway that the route is of"),
        ("httpRoute.parentRefs[0].namespace=a", "missing property 'name'"),
        (
            "httpRoute.enabled=true,httpRoute.parentRefs[0].name=a,httpRoute.rules[0].backendRefs[0].name=a",
            "backendRefs of httpRoute.rules are the chart's",
        ),
        ("ingress.hosts[0].name=a", "additional properties 'name' not allowed"),
        ("ingress.hosts[0].paths[0].path=v1", "'v1' does not match pattern"),
        (
            "ingress.hosts[0].paths[0].pathType=Regex",
            "value must be one of 'Exact', 'Prefix', 'ImplementationSpecific'",
        ),
        ("ingress.tls[0].secret=a", "additional properties 'secret' not allowed"),
        ("ingress.hosts[0].host=https://a.example.org", "does not match pattern"),
    ] {
        let said = fail(&mut template(&chart(), &["--set", "app.image=a:1", "--set", set], KUBERNETES));
        assert!(said.contains(says), "{set}: {said}");
    }
}
