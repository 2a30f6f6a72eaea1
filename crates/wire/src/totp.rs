//! Second factors: codes by time (RFC 6238).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One's own second factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Totp {
    /// Logins ask for it.
    pub enabled: bool,
    pub recovery_codes_left: u32,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TotpBegin {
    /// A token alone must not be enough to lock its owner out.
    pub password: String,
}

/// For an authenticator app; shown only now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TotpBegun {
    /// Base32, for typing.
    pub secret: String,
    /// `otpauth://totp/…`, for a QR code.
    pub uri: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TotpConfirm {
    pub code: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TotpConfirmed {
    /// Each works once instead of a code; shown only now.
    pub recovery_codes: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TotpDisable {
    pub password: String,
    /// The present code, or a recovery code.
    pub code: String,
}

macro_rules! silent {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

silent!(TotpBegin, TotpBegun, TotpConfirm, TotpConfirmed, TotpDisable);
