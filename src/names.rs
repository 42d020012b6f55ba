//! Enums whose variants have a name that people or other processes see: it is said once.

/// An enum with a name for each variant: on the wire, by Display, and in `NAMES`.
macro_rules! named {
    (
        $(#[$meta:meta])*
        pub enum $Enum:ident {
            $($(#[$attr:meta])* $Name:ident $(($of:ty))? $({$($none:tt)*})? = $text:literal,)*
        }
    ) => {
        #[derive(serde::Serialize, serde::Deserialize)]
        $(#[$meta])*
        pub enum $Enum {
            $($(#[$attr])* #[serde(rename = $text)] $Name $(($of))? $({$($none)*})?,)*
        }

        impl $Enum {
            /// All names.
            pub const NAMES: &'static [&'static str] = &[$($text,)*];

            /// The name of this one.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$Name { .. } => $text,)*
                }
            }
        }

        impl std::fmt::Display for $Enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use named;
