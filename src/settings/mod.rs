//! How every module declares and reads its part of the configuration.
//!
//! A module writes its settings once, with the [`settings!`](crate::settings!) macro: names, types, defaults and
//! documentation. From that one declaration come the reader (which reports *all* problems at once, each with its
//! place), the `config` command's dump and the reference documentation, so they cannot disagree.
//!
//! A value is never quoted in a problem, because it may be a secret in the wrong place: problems name the file, the
//! line, the column and the key only.

mod address;
mod argv;
mod node;
mod ordinary;
mod problem;
mod reader;
mod secret;
mod section;
mod setting;
mod shape;
mod url;

pub use address::Address;
pub use argv::Argv;
pub use node::{Entry, Node, Origin, Table, Value, key};
pub use ordinary::{is_no_file, open_ordinary, read_ordinary};
pub use problem::{Problem, Problems};
pub use reader::{Reader, did_you_mean};
pub use secret::{Environment, Secret, SecretError};
#[doc(hidden)]
pub use section::table_of;
pub use section::{Field, Line, Section, read_empty};
pub use setting::{Ratio, Setting, Size, TextMap};
pub use shape::Shape;
pub use url::{Scheme, Url};

#[cfg(test)]
mod tests;
