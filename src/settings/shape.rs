/// What a value looks like, as far as a program can tell that knows the schema alone.
///
/// A schema that says more than the readers do would refuse what is right, so where a type has a notation of its own this
/// says only what TOML type it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Anything.
    Any,
    /// true or false.
    Flag,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// Text.
    Text,
    /// One of these texts.
    Words(&'static [&'static str]),
    /// `{ file = "…" }` or `{ env = "…" }`.
    Secret,
    /// A list, or one value in place of a list of one.
    List(&'static Self),
    /// Names of the user's choice, with such values.
    Map(&'static Self),
    /// One of these.
    Either(&'static [Self]),
    /// A table with the field's own keys.
    Table,
}

/// Declares a setting that is one of some words.
///
/// ```
/// /// How loud.
/// #[derive(Clone, Copy)]
/// pub enum Volume {
///     /// Quite.
///     Loud,
///     /// Hardly.
///     Soft,
/// }
///
/// pulsegate::words!(Volume, "\"loud\" or \"soft\"", { "loud" => Self::Loud, "soft" => Self::Soft });
/// ```
#[macro_export]
macro_rules! words {
    ($ty:ty, $expects:literal, { $( $word:literal => $value:expr ),+ $(,)? }) => {
        impl $crate::settings::Setting for $ty {
            const EXPECTS: &'static str = $expects;
            const SHAPE: $crate::settings::Shape = $crate::settings::Shape::Words(&[ $( $word ),+ ]);

            fn read(
                node: &$crate::settings::Node,
                path: &str,
                problems: &$crate::settings::Problems,
            ) -> Option<Self> {
                $crate::settings::Reader::word(node, path, problems, &[ $( ($word, $value) ),+ ])
            }
        }
    };
}
