//! The app as a child of ours: started, watched, started again, told to stop, and never left behind.

mod check;
mod exit;
mod launch;
mod settings;
mod status;
mod supervisor;

pub use self::exit::Exit;
pub use self::launch::{HELPER, Launch, LaunchError, become_the_app};
pub use self::settings::{AppSettings, Restart, StopSignal};
pub use self::status::AppStatus;
pub use self::supervisor::Supervisor;
