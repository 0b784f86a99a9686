use std::path::PathBuf;

use super::files::place;
use super::{Config, Sources, layers};
use crate::admin::{AdminListen, AdminSettings, ControlSettings, ControlSocket, Meant, Place};
use crate::proxy::ProxySettings;
use crate::settings::{Address, Origin, Problem, Problems, Setting, Table, read_empty};

/// Where the process of a configuration is, as far as that says it, and who it is that was meant.
///
/// A running process goes on with what it has read, whatever became of its file: what is wrong with anything else in there
/// keeps nobody from finding it.
#[derive(Debug)]
pub struct Whereabouts {
    /// Where traffic comes in.
    pub traffic: Vec<Address>,
    /// The certificate that is served there, if there is TLS.
    pub traffic_certificate: Option<PathBuf>,
    /// The management port.
    pub admin: Option<Address>,
    /// The certificate that is served there, if there is TLS.
    pub admin_certificate: Option<PathBuf>,
    /// The control socket.
    pub control: ControlSocket,
    /// What the process was started with, if it was started with this.
    pub place: Place,
    /// What of that was said: a file, or by flags where traffic comes in.
    pub meant: Meant,
    /// Whether a flag says where the management port is.
    pub names_admin: bool,
    /// Whether anybody says so.
    pub knows_admin: bool,
    /// Whether the control socket is what the file says, rather than somebody beside it.
    pub control_is_of_file: bool,
    /// What is wrong with the file, or with these settings in it; what follows is then a guess.
    pub problems: Vec<Problem>,
}

impl Whereabouts {
    /// Reads what is needed for it.
    ///
    /// # Errors
    /// What is wrong with a flag: whoever gave it means something else than what would be understood.
    pub fn read(sources: &Sources) -> Result<Self, Vec<Problem>> {
        let problems = Problems::default();
        let tree = layers::merge_leniently(sources, &problems);
        let listen: Option<Vec<Address>> = setting(&tree, &["proxy", "listen"], &problems);
        let admin: Option<AdminListen> = setting(&tree, &["admin", "listen"], &problems);
        let control: Option<ControlSocket> = setting(&tree, &["control", "socket"], &problems);
        let [traffic_certificate, admin_certificate] =
            ["proxy", "admin"].map(|section| setting(&tree, &[section, "tls", "cert"], &problems));
        let origin = |path: [&str; 2]| tree.at(&path).map(|node| &node.origin);
        let (of_traffic, of_admin) = (origin(["proxy", "listen"]), origin(["admin", "listen"]));
        let control_is_of_file = matches!(origin(["control", "socket"]), Some(Origin::File { .. }));
        let mut problems = problems.into_vec();
        if sources.flags.iter().any(|flag| flag.name.starts_with("--set")) {
            // Also the names of settings that do not exist.
            problems.extend(Config::load(sources).err().into_iter().flatten().filter(is_of_flag));
        }
        let (of_flags, problems): (Vec<Problem>, Vec<Problem>) = problems.into_iter().partition(is_of_flag);
        if !of_flags.is_empty() {
            let mut said: Vec<Problem> = Vec::new();
            for problem in of_flags {
                if !said.contains(&problem) {
                    said.push(problem);
                }
            }
            return Err(said);
        }
        let default = (read_empty::<ProxySettings>, read_empty::<AdminSettings>, read_empty::<ControlSettings>);
        let scratch = Problems::default();
        let traffic = listen.or_else(|| Some(default.0("", &scratch)?.listen)).unwrap_or_default();
        let admin_default = || Some(default.1("", &scratch)?.listen);
        let knows_admin = admin.is_some() && !matches!(of_admin, None | Some(Origin::Default | Origin::Preset(_)));
        let place = place(sources.file.as_deref(), &traffic);
        let is_flag = |origin: Option<&Origin>| matches!(origin, Some(Origin::Flag(_)));
        let meant = Meant {
            file: sources.file.is_some().then_some(place.file),
            listen: is_flag(of_traffic).then_some(place.listen),
        };
        Ok(Self {
            traffic,
            traffic_certificate,
            admin: admin.or_else(admin_default).and_then(|AdminListen(address)| address),
            admin_certificate,
            control: control.or_else(|| Some(default.2("", &scratch)?.socket)).unwrap_or(ControlSocket::Auto),
            place,
            meant,
            names_admin: is_flag(of_admin),
            knows_admin,
            control_is_of_file,
            problems,
        })
    }
}

fn is_of_flag(problem: &Problem) -> bool {
    matches!(problem.origin, Origin::Flag(_))
}

fn setting<T: Setting>(tree: &Table, path: &[&str], problems: &Problems) -> Option<T> {
    T::read(tree.at(path)?, &path.join("."), problems)
}
