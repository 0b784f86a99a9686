use std::sync::Arc;
use std::time::Duration;

use super::absent::Here;
use super::{Config, dependencies, dialects, listeners};
use crate::admin::{AdminListen, Cors, Credentials, Kind, MOST_WATCHERS, Means, MergeFrom};
use crate::check::{Pulse, Resources};
use crate::events::Webhook;
use crate::health::{Above, Group};
use crate::proxy::Target;
use crate::settings::{Address, Origin, Problems, Scheme, Size, Table, Url, Value};
use crate::supervise::AppStatus;
use crate::tls::{self, Client};
use crate::traffic::Traffic;

/// What no setting can know by itself: whether they fit together.
pub(super) fn validate(config: &Config, tree: &Table, problems: &Problems, notes: &Problems) {
    let origin = |path: &[&str]| place(tree, path);
    let here = Here { problems, notes, config, tree };
    service(config, problems, &origin);
    if config.shutdown.lame_duck > config.shutdown.grace {
        problems.add(
            &origin(&["shutdown", "lame_duck"]),
            "`shutdown.lame_duck` must not be longer than `shutdown.grace`: the grace holds all of it",
        );
    }
    app(config, problems, &origin);
    built_in_names(config, problems);
    if config.proxy.limits.header_bytes < Size(8192) || config.proxy.limits.header_bytes > Size(1 << 20) {
        problems.add(
            &origin(&["proxy", "limits", "header_bytes"]),
            "`proxy.limits.header_bytes` must be from 8KiB to 1MiB",
        );
    }
    for (name, limit) in [("connections", config.proxy.limits.connections), ("streams", config.proxy.limits.streams)] {
        if limit == 0 {
            problems.add(&origin(&["proxy", "limits", name]), format!("`proxy.limits.{name}` must be at least 1"));
        }
    }
    if config.proxy.listen.is_empty() {
        problems.add(&origin(&["proxy", "listen"]), "`proxy.listen` must name at least one address");
    }
    if config.proxy.proxy_protocol && config.proxy.trusted_proxies.is_empty() {
        problems.add(
            &origin(&["proxy", "proxy_protocol"]),
            "`proxy.proxy_protocol` is for the peers in `proxy.trusted_proxies`: name the balancer there",
        );
    }
    if leads_to_itself(config, &config.proxy.upstream.0) {
        problems.add(
            &origin(&["proxy", "upstream"]),
            "`proxy.upstream` leads back to `proxy.listen`: name the app's own port",
        );
    }
    if let Some(MergeFrom::Url(url)) = &config.metrics.merge
        && leads_to_itself(config, url)
    {
        problems.add(
            &origin(&["metrics", "merge"]),
            "`metrics.merge` leads back to `proxy.listen`: write the path alone, such as \"/metrics\", to ask the app",
        );
    }
    for (section, server) in [("proxy", &config.proxy.tls), ("admin", &config.admin.tls.server())] {
        if let Err(error) = tls::Server::new(server) {
            here.add(&[section, "tls"], format!("`{section}.tls`: {error}"));
        }
    }
    if let Some(port) = shared_port(config) {
        let what = "which traffic or the app uses already: give it one of its own, or \"off\"";
        problems.add(&origin(&["admin", "listen"]), format!("`admin.listen` is port {port}, {what}"));
    }
    listeners::validate(config, problems, &origin);
    let all_checks = names(tree, "checks");
    dependencies::validate(config, &all_checks, problems);
    judges(config, &all_checks, problems);
    events(&here, &all_checks);
    // A group that seems empty may be that of a check with a problem of its own.
    endpoints(config, tree, all_checks.len() == config.checks.len(), problems);
    credentials(&here);
    dialects::validate(config, &all_checks, problems, &origin);
    let tls = upstream_tls(&here);
    prepare(&here, tls);
}

/// Oftener is a load, and less often is longer than what stands between leaves a silent connection open.
const HEARTBEATS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

fn events(here: &Here<'_>, all_checks: &[&str]) {
    let Here { config, problems, tree, .. } = here;
    let origin = |path: &[&str]| place(tree, path);
    if !(1..=MOST_WATCHERS).contains(&config.events.watchers) {
        let message =
            format!("`events.watchers` must be from 1 to {MOST_WATCHERS}; to have none, have no such endpoint");
        problems.add(&origin(&["events", "watchers"]), message);
    }
    if !HEARTBEATS.contains(&config.events.heartbeat) {
        problems.add(&origin(&["events", "heartbeat"]), "`events.heartbeat` must be from 1s to 5m");
    }
    let place = origin(&["events", "webhooks"]);
    for (index, hook) in config.events.webhooks.0.iter().enumerate() {
        if let Err(error) = Webhook::new(hook, &config.service.name, &config.environment) {
            here.add(&["events", "webhooks"], format!("`events.webhooks[{index}]`: {error}"));
        }
        if hook.checks.iter().any(|name| !all_checks.contains(&name.as_str())) {
            problems.add(&place, format!("`events.webhooks[{index}].checks` names a check that does not exist"));
        }
        let exists = |name: &String| {
            let group = Group::of(name);
            !matches!(group, Group::Named(_))
                || config.checks.iter().any(|check| check.settings.groups.contains(&group))
        };
        if all_checks.len() == config.checks.len() && !hook.groups.iter().all(exists) {
            problems.add(&place, format!("`events.webhooks[{index}].groups` names a group that no check belongs to"));
        }
    }
}

/// Checks of our own, whose names a second one must not have.
fn built_in_names(config: &Config, problems: &Problems) {
    let taken = |name: &str| [Pulse::NAME, AppStatus::CHECK].contains(&name) || Above::NAMES.contains(&name);
    for check in config.checks.iter().filter(|check| taken(&check.name)) {
        let name = &check.name;
        problems.add(&check.origin, format!("`checks.{name}`: something of pulsegate's own has this name"));
    }
}

fn app(config: &Config, problems: &Problems, origin: &impl Fn(&[&str]) -> Origin) {
    let (app, shutdown) = (&config.app, &config.shutdown);
    if app.command.first().is_some_and(String::is_empty) {
        problems.add(&origin(&["app", "command"]), "`app.command` must begin with a program");
    }
    if app.backoff > app.max_backoff {
        problems.add(&origin(&["app", "backoff"]), "`app.backoff` must not be longer than `app.max_backoff`");
    }
    if app.backoff.is_zero() {
        problems.add(&origin(&["app", "backoff"]), "`app.backoff` must not be 0: a crash loop would take a whole CPU");
    }
    if !app.command.is_empty() && shutdown.lame_duck.saturating_add(app.stop_timeout) > shutdown.grace {
        problems.add(
            &origin(&["app", "stop_timeout"]),
            "`app.stop_timeout` must fit into `shutdown.grace` after `shutdown.lame_duck`: the app ends last",
        );
    }
}

/// The keys of a table as they were written, whether their values could be read or not.
fn names<'a>(tree: &'a Table, key: &str) -> Vec<&'a str> {
    match tree.get(key).map(|node| &node.value) {
        Some(Value::Table(table)) => table.entries.iter().map(|entry| entry.key.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// Certificates and keys towards the app, if all is well with them.
fn upstream_tls(here: &Here<'_>) -> Option<Arc<Client>> {
    let config = here.config;
    if config.proxy.upstream.0.scheme != Scheme::Https && !config.proxy.upstream_tls.is_default() {
        here.problems.add(
            &place(here.tree, &["proxy", "upstream_tls"]),
            "`proxy.upstream_tls` is for an app that is spoken to by TLS: `proxy.upstream` must be https://",
        );
    }
    match Target::load(&config.proxy) {
        Ok(target) => target.tls(),
        Err(error) => {
            here.add(&["proxy", "upstream_tls"], format!("`proxy.upstream_tls`: {error}"));
            None
        }
    }
}

/// A check that lacks what it needs is a problem of the configuration: told with the others, before anything starts.
fn prepare(here: &Here<'_>, tls: Option<Arc<Client>>) {
    let config = here.config;
    let upstream = config.proxy.upstream.0.clone();
    let resources = Resources::new(Arc::new(Traffic::new(1)), upstream, tls, config.environment.clone());
    // A kind that is not in this build has been told already.
    for check in config.checks.iter().filter(|check| check.enabled && check.kind.lacks.is_none()) {
        if let Err(message) = check.prepare(&resources) {
            let message = format!("`checks.{}`: {message}", check.name);
            here.add_at(&["checks", &check.name], &check.origin, message);
        }
    }
}

/// The port that traffic and management would both listen at, or that the app is looked for at.
fn shared_port(config: &Config) -> Option<u16> {
    let AdminListen(Some(Address::Ip(admin))) = &config.admin.listen else {
        return None;
    };
    let overlaps =
        |other: std::net::IpAddr| other == admin.ip() || other.is_unspecified() || admin.ip().is_unspecified();
    let with_traffic = config.proxy.listen.iter().any(|listen| match listen {
        Address::Ip(traffic) => traffic.port() == admin.port() && overlaps(traffic.ip()),
        Address::Unix(_) => false,
    });
    let upstream = &config.proxy.upstream.0;
    let with_app = matches!(upstream.scheme, Scheme::Http | Scheme::H2c | Scheme::Https)
        && upstream.port == admin.port()
        && upstream.host.parse().is_ok_and(overlaps);
    (admin.port() != 0 && (with_traffic || with_app)).then_some(admin.port())
}

fn service(config: &Config, problems: &Problems, origin: &impl Fn(&[&str]) -> Origin) {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    if !is_name(&config.service.name) {
        problems.add(
            &origin(&["service", "name"]),
            "`service.name` must begin with a letter and be made of letters, digits, -, _ and .",
        );
    }
    let namespace = config.metrics.namespace.as_deref();
    if namespace.is_some_and(|name| !is_name(name) || name.contains(['-', '.'])) {
        problems.add(
            &origin(&["metrics", "namespace"]),
            "`metrics.namespace` must begin with a letter and be made of letters, digits and _",
        );
    }
}

fn leads_to_itself(config: &Config, url: &Url) -> bool {
    config.proxy.listen.iter().any(|listen| match (listen, &url.scheme) {
        (Address::Unix(path), Scheme::Unix(socket)) => path == socket,
        (Address::Ip(address), Scheme::Http | Scheme::H2c | Scheme::Https) => {
            let host = url.host.parse::<std::net::IpAddr>();
            let ours = match host {
                Ok(host) => host == address.ip() || (host.is_loopback() && address.ip().is_unspecified()),
                Err(_) => url.host == "localhost" && (address.ip().is_loopback() || address.ip().is_unspecified()),
            };
            address.port() != 0 && address.port() == url.port && ours
        }
        _ => false,
    })
}

/// Whose facts a check judges must be there, and be somebody else's.
fn judges(config: &Config, all: &[&str], problems: &Problems) {
    for check in &config.checks {
        for judged in check.prepare.judges() {
            let name = &check.name;
            if !all.contains(&judged) {
                let message = format!("`checks.{name}.{}` names a check that does not exist", check.kind.name);
                problems.add(&check.origin, message);
            } else if judged == name {
                let message = format!("`checks.{name}.{}` names its own check", check.kind.name);
                problems.add(&check.origin, message);
            }
        }
    }
}

fn endpoints(config: &Config, tree: &Table, groups_are_known: bool, problems: &Problems) {
    let origin = |path: &[&str]| place(tree, path);
    for (path, endpoint) in &config.endpoints {
        if matches!(endpoint.dialect, Kind::Off) {
            continue;
        }
        for means in endpoint.access.means() {
            // What could not be read has its own problem.
            let lacks = match means {
                Means::ApiKey if !is_written(tree, &["admin", "api_keys"]) => {
                    "an API key, and `admin.api_keys` has none"
                }
                Means::Jwt if !is_written(tree, &["admin", "jwt"]) => "a token, and `admin.jwt` is not set",
                Means::Session if !is_written(tree, &["admin", "session"]) => {
                    "a session, and `admin.session` is not set"
                }
                Means::Certificate if !is_written(tree, &["admin", "tls", "client_ca"]) => {
                    "a client certificate, and `admin.tls.client_ca` is not set"
                }
                Means::Certificate if endpoint.ports.traffic && endpoint.access.means().count() == 1 => {
                    "a client certificate, which only the management port takes: set `ports = [\"admin\"]`"
                }
                Means::ApiKey | Means::Jwt | Means::Session | Means::Certificate => continue,
            };
            let message = format!("`endpoints.{path:?}.access` asks for {lacks}");
            problems.add(&origin(&["endpoints", path, "access"]), message);
        }
        let known = !groups_are_known
            || !matches!(endpoint.group(), Group::Named(_))
            || config.checks.iter().any(|check| check.settings.groups.contains(&endpoint.group()));
        if !known {
            problems.add(
                &origin(&["endpoints", path, "group"]),
                format!("`endpoints.{path:?}.group` names a group that no check belongs to"),
            );
        }
    }
    let group = &config.agent_check.group;
    let known = !groups_are_known
        || !matches!(group, Group::Named(_))
        || config.checks.iter().any(|check| check.settings.groups.contains(group));
    if !known {
        problems.add(&origin(&["agent_check", "group"]), "`agent_check.group` names a group that no check belongs to");
    }
    if !config.admin.cors_origins.iter().all(|text| Cors::is_origin(text)) {
        problems.add(
            &origin(&["admin", "cors_origins"]),
            "`admin.cors_origins` must hold origins such as \"https://status.example\", without a path, or \"*\"",
        );
    }
}

/// What admits callers can be read.
fn credentials(here: &Here<'_>) {
    let config = here.config;
    for (index, secret) in config.admin.api_keys.iter().enumerate() {
        if let Err(error) = secret.resolve(&config.environment) {
            here.add(&["admin", "api_keys"], format!("`admin.api_keys[{index}]`: {error}"));
        }
    }
    if let Err(error) = Credentials::check_jwt(&config.admin, &config.environment) {
        here.add(&["admin", "jwt"], format!("`admin.jwt`: {error}"));
    }
    if let Err(error) = Credentials::check_session(&config.admin) {
        here.add(&["admin", "session"], format!("`admin.session`: {error}"));
    }
}

/// Whether something stands at a path, more than an empty list.
fn is_written(tree: &Table, path: &[&str]) -> bool {
    tree.at(path).is_some_and(|node| !matches!(&node.value, Value::List(items) if items.is_empty()))
}

/// Where the value of a path was written, or its nearest parent.
pub(super) fn place(tree: &Table, path: &[&str]) -> Origin {
    let mut table = tree;
    let mut origin = Origin::Default;
    for part in path {
        let Some(node) = table.get(part) else { break };
        origin = node.origin.clone();
        match &node.value {
            Value::Table(inner) => table = inner,
            _ => break,
        }
    }
    origin
}
